"""Measure the cost of a guide: computing the mask of allowed tokens, advancing, and choosing with and without a mask.

    python -m benchmarks.guided models/demo/tokenizer.json path/to/gpt2/tokenizer.json

Generates texts that the guide allows from random logits, and prints a Markdown table for each vocabulary. Times are
medians of the thread's CPU time, so other load on the machine does not count.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from statistics import fmean, median

import numpy as np
import tokenizers

from generation.sampling.grammar import Constraint, _compiled, make_guide
from generation.sampling.params import SamplingParams
from generation.sampling.sampler import Sampler
from generation.text import loading
from generation.text.tokenizer import Tokenizer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "born": {"type": "string", "format": "date"},
        "likes": {"type": "array", "items": {"enum": ["cats", "dogs", "trees"]}, "minItems": 1, "maxItems": 3},
        "friend": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "age", "born", "likes", "friend"],
    "additionalProperties": False,
}
GUIDES: list[tuple[str, str, str]] = [
    ("3 choices", "choice", json.dumps([" cat", " dog", " little girl"])),
    ("256 choices", "choice", json.dumps([f" choice number {i}" for i in range(256)])),
    ("JSON schema of a person", "json", json.dumps(PERSON)),
    ("any JSON object", "json", json.dumps({"type": "object"})),
    ("grammar of sums", "grammar", 'root ::= term ("+" term)*\nterm ::= [0-9]+ | "(" root ")"'),
    *(
        (regex, "regex", regex)
        for regex in (
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
            r"[A-Z][a-z]+( [a-z]+){3,10}\.",
            r"\w+@\w+\.com",
            r".{10,200}",
            r"(\w+ ){1,20}",
        )
    ),
]


def load(path: Path) -> Tokenizer:
    """Load GPT-2's tokenizer or one like it."""
    end = tokenizers.Tokenizer.from_file(str(path)).token_to_id("<|endoftext|>")
    return loading.load(path, ends_of_text=[end])


def compile_ms(tokenizer: Tokenizer, kind: str, text: str) -> float:
    """Return the milliseconds to compile a grammar that is not cached."""
    _compiled.cache_clear()
    began = time.perf_counter()
    asyncio.run(make_guide(tokenizer, Constraint(kind, text, kind)))
    return (time.perf_counter() - began) * 1000


def walk(
    tokenizer: Tokenizer, kind: str, text: str, walks: int, limit: int
) -> tuple[list[float], list[float], list[float]]:
    """Return the microseconds per token of the guide, of choosing with a mask, and of choosing without one."""
    maker = asyncio.run(make_guide(tokenizer, Constraint(kind, text, kind)))
    if maker is None:
        raise ValueError("nothing guides")
    random = np.random.default_rng(0)
    clock = time.thread_time_ns
    guiding, choosing, freely = list[float](), list[float](), list[float]()
    for seed in range(walks):
        guide = maker()
        guided, free = (Sampler(SamplingParams(seed=seed, top_k=0), 0, (0,), tokenizer.ends_of_text) for _ in range(2))
        token = -1
        while token not in tokenizer.ends_of_text and limit * (seed + 1) > len(guiding):
            logits = random.normal(size=tokenizer.vocabulary).astype(np.float32) * 3
            times = [clock()]
            free.choose(logits)
            times.append(clock())
            allowed = guide.allowed()
            times.append(clock())
            token = guided.choose(logits, allowed)
            times.append(clock())
            if token not in tokenizer.ends_of_text:
                guide.advance(token)
            times.append(clock())
            freely.append((times[1] - times[0]) / 1000)
            guiding.append((times[2] - times[1] + times[4] - times[3]) / 1000)
            choosing.append((times[3] - times[2]) / 1000)
    return guiding, choosing, freely


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+", type=Path, help="tokenizer.json files")
    parser.add_argument("--walks", type=int, default=10, help="answers for each guide (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=40, help="tokens of an answer at most (default: %(default)s)")
    options = parser.parse_args()
    for path in options.tokenizers:
        tokenizer = load(path)
        first = compile_ms(tokenizer, "choice", '["a"]')
        print(f"\nVocabulary of {tokenizer.vocabulary}; the first guided request took {first:.0f} ms.\n")
        print("| guide | made in, ms | guiding: median, us | mean, us | choosing, us | without a guide, us |")
        print("|---|---:|---:|---:|---:|---:|")
        for name, kind, text in GUIDES:
            compiled = min(compile_ms(tokenizer, kind, text) for _ in range(3))
            guiding, choosing, freely = walk(tokenizer, kind, text, options.walks, options.limit)
            numbers = (median(guiding), fmean(guiding), median(choosing), median(freely))
            shown = name.replace("|", "\\|")
            print(f"| `{shown}` | {compiled:.1f} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")


if __name__ == "__main__":
    main()
