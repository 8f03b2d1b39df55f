"""The workshop app, from which this project originated, as a baseline: FastAPI with a `transformers` pipeline."""

import os
from typing import Any

from fastapi import FastAPI

app = FastAPI()


def _pipeline() -> Any:
    import torch
    from transformers import pipeline

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    return pipeline("text-generation", model=os.environ["MODEL_DIR"])


generator = _pipeline()


@app.get("/{prompt}")
async def generate(prompt: str, max_new_tokens: int = 50) -> dict[str, list[str]]:
    """Generate on the event loop, so that requests run one at a time."""
    made = generator(prompt, max_new_tokens=max_new_tokens, min_new_tokens=max_new_tokens, do_sample=True)
    return {"generated_sequences": [one["generated_text"] for one in made]}
