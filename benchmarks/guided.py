"""What a guide costs: the mask of what may come next, taking the choice, and choosing with a mask and without.

    python -m benchmarks.guided models/demo/tokenizer.json path/to/gpt2/tokenizer.json

Walks random answers that the guide allows, with logits of random numbers, and prints a Markdown table for each
vocabulary. Times are medians of CPU time of the thread, so that other work on the machine does not count.
"""

import argparse
import asyncio
import time
from pathlib import Path
from statistics import fmean, median

import numpy as np

from generation.sampling.guide import make_guide
from generation.sampling.params import SamplingParams
from generation.sampling.sampler import Sampler
from generation.text import loading
from generation.text.tokenizer import Tokenizer

GUIDES: list[tuple[str, list[str] | None, str | None]] = [
    ("3 choices", [" cat", " dog", " little girl"], None),
    ("256 choices", [f" choice number {i}" for i in range(256)], None),
    *(
        (regex, None, regex)
        for regex in (
            r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
            r"[A-Z][a-z]+( [a-z]+){3,10}\.",
            r"\w+@\w+\.com",
            r".{10,200}",
            r"(\w+ ){1,20}",
        )
    ),
]


def compile_ms(tokenizer: Tokenizer, choices: list[str] | None, regex: str | None) -> float:
    """Return the milliseconds that it takes to make a guide."""
    began = time.perf_counter()
    asyncio.run(make_guide(tokenizer, choices, regex))
    return (time.perf_counter() - began) * 1000


def walk(
    tokenizer: Tokenizer, choices: list[str] | None, regex: str | None, walks: int, limit: int
) -> tuple[list[float], list[float], list[float]]:
    """Return microseconds for each token of guiding, of choosing, and of choosing freely."""
    maker = asyncio.run(make_guide(tokenizer, choices, regex))
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
        tokenizer = loading.load(path)
        first = compile_ms(tokenizer, ["a"], None)
        print(f"\nVocabulary of {tokenizer.vocabulary}; the first guided request took {first:.0f} ms.\n")
        print("| guide | made in, ms | guiding: median, us | mean, us | choosing, us | without a guide, us |")
        print("|---|---:|---:|---:|---:|---:|")
        for name, choices, regex in GUIDES:
            compiled = min(compile_ms(tokenizer, choices, regex) for _ in range(3))
            guiding, choosing, freely = walk(tokenizer, choices, regex, options.walks, options.limit)
            numbers = (median(guiding), fmean(guiding), median(choosing), median(freely))
            shown = name.replace("|", "\\|")
            print(f"| `{shown}` | {compiled:.1f} | " + " | ".join(f"{number:.0f}" for number in numbers) + " |")


if __name__ == "__main__":
    main()
