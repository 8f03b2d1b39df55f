"""What a guide adds to a token: the mask of what may come next, taking the choice, and the mask's use in the sampler.

    python -m benchmarks.guided models/demo/tokenizer.json path/to/gpt2/tokenizer.json

Walks random answers that the guide allows, with logits of random numbers, and prints a Markdown table for each
vocabulary. Times are CPU time of the thread, so that other work on the machine does not count.
"""

import argparse
import asyncio
import time
from pathlib import Path

import numpy as np

from generation.guide import make_guide
from generation.sampling import Sampler, SamplingParams
from generation.tokenizer import Tokenizer

GUIDES: list[tuple[str, list[str] | None, str | None]] = [
    ("3 choices", [" cat", " dog", " little girl"], None),
    ("256 choices", [f" choice number {i}" for i in range(256)], None),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}", None, r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    (r"[A-Z][a-z]+( [a-z]+){3,10}\.", None, r"[A-Z][a-z]+( [a-z]+){3,10}\."),
    (r"\w+@\w+\.com", None, r"\w+@\w+\.com"),
    (r".{10,200}", None, r".{10,200}"),
    (r"(\w+ ){1,20}", None, r"(\w+ ){1,20}"),
]


def compile_ms(tokenizer: Tokenizer, choices: list[str] | None, regex: str | None) -> float:
    """Return milliseconds of wall clock, which are CPU time of the thread that compiles."""
    began = time.perf_counter()
    asyncio.run(make_guide(tokenizer, choices, regex))
    return (time.perf_counter() - began) * 1000


def walk_us(tokenizer: Tokenizer, choices: list[str] | None, regex: str | None, walks: int, limit: int) -> list[float]:
    """Return for every token of `walks` answers, of `limit` tokens at most, the microseconds that the guide added."""
    maker = asyncio.run(make_guide(tokenizer, choices, regex))
    if maker is None:
        raise ValueError("nothing guides")
    random = np.random.default_rng(0)
    added: list[float] = []
    for seed in range(walks):
        guide = maker()
        guided, free = (Sampler(SamplingParams(seed=seed), 0, (0,), tokenizer.end_of_text) for _ in range(2))
        for _ in range(limit):
            logits = random.normal(size=tokenizer.vocabulary).astype(np.float32) * 3
            began = time.thread_time_ns()
            free.choose(logits)
            between = time.thread_time_ns()
            token = guided.choose(logits, guide.allowed())
            if token != tokenizer.end_of_text:
                guide.advance(token)
            added.append((time.thread_time_ns() - between - (between - began)) / 1000)
            if token == tokenizer.end_of_text:
                break
    return added


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+", type=Path, help="tokenizer.json files")
    parser.add_argument("--walks", type=int, default=10, help="answers for each guide (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=40, help="tokens of an answer at most (default: %(default)s)")
    options = parser.parse_args()
    for path in options.tokenizers:
        tokenizer = Tokenizer.load(path)
        first = compile_ms(tokenizer, ["a"], None)
        print(
            f"\nVocabulary of {tokenizer.vocabulary}; the first guided request of the process took {first:.0f} ms more.\n"
        )
        print("| guide | compile, ms | added to a token: median, us | mean, us | 95th percentile, us |")
        print("|---|---:|---:|---:|---:|")
        for name, choices, regex in GUIDES:
            compiled = min(compile_ms(tokenizer, choices, regex) for _ in range(3))
            added = walk_us(tokenizer, choices, regex, options.walks, options.limit)
            median, high = np.quantile(added, [0.5, 0.95])
            shown = name.replace("|", "\\|")
            print(f"| `{shown}` | {compiled:.1f} | {median:.0f} | {np.mean(added):.0f} | {high:.0f} |")


if __name__ == "__main__":
    main()
