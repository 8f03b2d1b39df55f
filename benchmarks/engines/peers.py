"""Run the peers as their users do, with their best settings for two cores. Each is imported only when it is created."""

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.engines.base import TEMPERATURE, TOP_K, Prompt

THREADS = len(os.sched_getaffinity(0))


def _choice(torch: Any, seed: int | None) -> dict[str, Any]:
    """Return how `transformers` chooses tokens."""
    if seed is None:
        return {"do_sample": False}
    torch.manual_seed(seed)
    return {"do_sample": True, "temperature": TEMPERATURE, "top_k": TOP_K}


class Transformers:
    """The baseline of the workshop app: `transformers` in float32, through the method that its pipeline calls."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import GPT2LMHeadModel

        torch.set_num_threads(THREADS)
        self._torch = torch
        self._model: Any = GPT2LMHeadModel.from_pretrained(folder).eval()

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Continue one prompt after the other, because a pipeline does not batch by default."""
        choice = _choice(self._torch, seed)
        for prompt in prompts:
            ids = self._torch.tensor([prompt])
            with self._torch.inference_mode():
                self._model.generate(
                    ids, attention_mask=self._torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new,
                    pad_token_id=0, **choice,
                )  # fmt: skip


class Optimum:
    """`optimum`'s ONNX export in ORTModel, float32 or dynamically quantized."""

    def __init__(self, folder: Path) -> None:
        import torch
        from onnxruntime import SessionOptions
        from optimum.onnxruntime import ORTModelForCausalLM

        self._torch = torch
        options = SessionOptions()
        options.intra_op_num_threads = THREADS
        self._model: Any = ORTModelForCausalLM.from_pretrained(folder, session_options=options)

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Continue all prompts, which are equally long, as one batch."""
        ids = self._torch.tensor(prompts)
        self._model.generate(
            ids, attention_mask=self._torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, pad_token_id=0,
            **_choice(self._torch, seed),
        )  # fmt: skip


class CTranslate2:
    """CTranslate2 in int8. It is fastest if its threads spin while they wait: see `SPINNING` in entries.py."""

    def __init__(self, folder: Path) -> None:
        import ctranslate2

        self._model: Any = ctranslate2.Generator(
            str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=THREADS
        )
        # CTranslate2 takes tokens as strings.
        self._tokens: list[str] = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Continue all prompts as one batch."""
        choice = {} if seed is None else {"sampling_topk": TOP_K, "sampling_temperature": TEMPERATURE}
        self._model.generate_batch(
            [[self._tokens[token] for token in prompt] for prompt in prompts],
            max_length=new, min_length=new, beam_size=1, include_prompt_in_result=False, end_token=[], **choice,
        )  # fmt: skip


class OpenVino:
    """OpenVINO GenAI, weights in int8; computes in float32, or in bfloat16 where the processor has AMX."""

    def __init__(self, folder: Path, precision: str) -> None:
        import openvino_genai

        self._genai: Any = openvino_genai
        self._pipe: Any = openvino_genai.LLMPipeline(
            str(folder), "CPU", INFERENCE_PRECISION_HINT=precision, INFERENCE_NUM_THREADS=THREADS
        )

    def generate(self, prompts: list[Prompt], new: int, seed: int | None = None) -> None:
        """Continue all prompts as one batch."""
        import numpy as np
        import openvino

        ids = openvino.Tensor(np.array(prompts, np.int64))
        drawn = {"do_sample": True, "top_k": TOP_K, "temperature": TEMPERATURE, "rng_seed": seed}
        choice = {"do_sample": False} if seed is None else drawn
        config = self._genai.GenerationConfig(max_new_tokens=new, min_new_tokens=new, ignore_eos=True, **choice)
        inputs = self._genai.TokenizedInputs(ids, openvino.Tensor(np.ones(ids.shape, np.int64)))
        self._pipe.generate(inputs, config)
