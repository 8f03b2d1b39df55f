"""Write adapters of the kinds that peft can merge, each next to its base model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from tests.support.kind_parts import write

if TYPE_CHECKING:
    from pathlib import Path

    from peft import PeftConfig


def lora(folder: Path) -> None:
    """Write a LoRA adapter."""
    from peft import LoraConfig

    _adapt(folder, LoraConfig(r=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, init_lora_weights=False))


def ia3(folder: Path) -> None:
    """Write an IA3 adapter."""
    from peft import IA3Config

    last = ["mlp.c_proj"]
    settings = IA3Config(
        target_modules=["c_attn", *last], feedforward_modules=last, fan_in_fan_out=True, init_ia3_weights=False
    )
    _adapt(folder, settings)


def lora_with_tokens(folder: Path) -> None:
    """Write an adapter with tokens of its own, as fine-tuning for chats adds them."""
    from peft import LoraConfig

    settings = LoraConfig(
        r=4,
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        init_lora_weights=False,
        modules_to_save=["wte", "lm_head"],
    )
    _adapt(folder, settings, "<|im_start|>", "<|im_end|>")


def _adapt(folder: Path, settings: PeftConfig, *added: str) -> None:
    """Write an adapter and, next to it, its base model."""
    from peft import get_peft_model

    base = folder.with_name(f"{folder.name}-base")
    shutil.rmtree(base, ignore_errors=True)
    write(base)
    torch.manual_seed(3)
    model = GPT2LMHeadModel.from_pretrained(base)
    if added:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.add_special_tokens({"additional_special_tokens": list(added)})
        tokenizer.save_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    get_peft_model(model, settings).save_pretrained(str(folder))
