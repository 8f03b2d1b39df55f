"""Scores a corpus by perplexity with the batch command; the standard library is enough.

    python examples/perplexity.py lines corpus.txt > scoring.jsonl
    python -m generation batch scoring.jsonl scored.jsonl
    python examples/perplexity.py scores scored.jsonl
    python examples/perplexity.py filter scored.jsonl corpus.txt --most 20 > kept.txt

A document is a line of the corpus; its number is the custom_id of its request. The perplexity of a document is
exp(-mean of the log-probabilities of its tokens, but for the first, which nothing precedes).
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles


def lines(options: argparse.Namespace) -> None:
    """Print a request for each document: no new tokens, and the log-probability of every token of the prompt."""
    with options.corpus.open(encoding="utf-8") as corpus:
        for number, document in enumerate(corpus, 1):
            if document.strip():
                body = {"prompt": document.strip(), "max_tokens": 0, "echo": True, "logprobs": 0}
                if options.context:
                    body["truncate_prompt_tokens"] = options.context
                line = {"custom_id": str(number), "method": "POST", "url": "/v1/completions", "body": body}
                print(json.dumps(line))


def read(scored: Path) -> Iterator[tuple[int, int, float]]:
    """Yield number, tokens and perplexity of every document that was scored; failures go to standard error."""
    with scored.open(encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            response = line["response"]
            if response is None or response["status_code"] != 200:  # noqa: PLR2004
                error = line["error"] or response["body"]["error"]
                print(f"document {line['custom_id']} was not scored: {error['message']}", file=sys.stderr)
                continue
            logprobs = response["body"]["choices"][0]["logprobs"]["token_logprobs"][1:]
            if logprobs:
                yield int(line["custom_id"]), len(logprobs), math.exp(-sum(logprobs) / len(logprobs))


def scores(options: argparse.Namespace) -> None:
    """Print how the perplexities are spread, and that of the corpus: of all its tokens together."""
    found = list(read(options.scored))
    tokens = sum(count for _, count, _ in found)
    surprise = sum(count * math.log(perplexity) for _, count, perplexity in found)
    print(f"{len(found)} documents, {tokens} tokens, perplexity {math.exp(surprise / tokens):.1f}")
    tenths = quantiles((perplexity for _, _, perplexity in found), n=10)
    print("tenths of the documents end at " + ", ".join(f"{one:.1f}" for one in tenths))


def select(options: argparse.Namespace) -> None:
    """Print the documents whose perplexity is at most the bound, in the order of the corpus."""
    kept = {number for number, _, perplexity in read(options.scored) if perplexity <= options.most}
    with options.corpus.open(encoding="utf-8") as corpus:
        for number, document in enumerate(corpus, 1):
            if number in kept:
                print(document, end="" if document.endswith("\n") else "\n")


def main() -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True, metavar="step")
    one = steps.add_parser("lines")
    one.add_argument("corpus", type=Path)
    one.add_argument("--context", type=int, help="score only the last tokens of a longer document, at most this many")
    one.set_defaults(run=lines)
    two = steps.add_parser("scores")
    two.add_argument("scored", type=Path)
    two.set_defaults(run=scores)
    three = steps.add_parser("filter")
    three.add_argument("scored", type=Path)
    three.add_argument("corpus", type=Path)
    three.add_argument("--most", type=float, required=True, help="largest perplexity to keep")
    three.set_defaults(run=select)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
