"""Measure vLLM's server on its CPU backend, a common choice for serving such a model."""

import os
import time
from pathlib import Path

import httpx

from benchmarks.entries import python_of
from benchmarks.over_http import PLAIN, App, figures, serve_other

LABEL = "vLLM bf16"
ENVIRONMENT = "vllm"
# Maximum start-up time, because the server compiles the model before it listens.
START_S = 240.0
NAME = "model"


def settings() -> dict[str, str]:
    """Return environment variables: a cache of 2 GB, one thread on each allowed processor, and no network."""
    cores = sorted(os.sched_getaffinity(0))
    return {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def measured(checkpoint: Path, most: int | None = None) -> dict[str, list[float]]:
    """Start the server and return its figures in bfloat16, the main precision of its CPU backend."""
    began = time.perf_counter()
    command = (
        str(python_of(ENVIRONMENT)), "-m", "vllm.entrypoints.openai.api_server", "--model", str(checkpoint),
        "--served-model-name", NAME, "--dtype", "bfloat16", "--host", "127.0.0.1", "--max-num-seqs", "16",
        "--no-enable-prefix-caching",
    )  # fmt: skip
    with serve_other(command, settings(), START_S) as (url, pid):

        async def ask(client: httpx.AsyncClient, prompt: str, tokens: int) -> httpx.Response:
            body = {"model": NAME, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0}
            return await client.post(f"{url}/v1/completions", json=body)

        return figures(App(ask, pid, began), PLAIN, most)
