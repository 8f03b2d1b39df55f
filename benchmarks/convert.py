"""Convert a checkpoint for one peer: ``python -m benchmarks.convert PEER CHECKPOINT OUT``.

Run this in the peer's environment.
"""

import json
import sys
from pathlib import Path
from typing import Any


def ctranslate2(checkpoint: Path, out: Path) -> None:
    """Write an int8 model for CTranslate2."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(checkpoint)).convert(str(out), quantization="int8", force=True)


def optimum(checkpoint: Path, out: Path) -> None:
    """Write ONNX models of `optimum`: ``fp32``, and ``int8`` by dynamic quantization."""
    from optimum.onnxruntime import ORTModelForCausalLM, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    ORTModelForCausalLM.from_pretrained(checkpoint, export=True).save_pretrained(out / "fp32")
    quantizer = ORTQuantizer.from_pretrained(out / "fp32", file_name="model.onnx")
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=False)
    quantizer.quantize(save_dir=out / "int8", quantization_config=settings)


def openvino(checkpoint: Path, out: Path) -> None:
    """Write a model with int8 weights for OpenVINO; it needs no tokenizer, because prompts are token ids."""
    from optimum.intel.openvino import OVModelForCausalLM, OVWeightQuantizationConfig

    model = OVModelForCausalLM.from_pretrained(
        checkpoint, export=True, quantization_config=OVWeightQuantizationConfig(bits=8)
    )
    model.save_pretrained(out)


def llama(checkpoint: Path, out: Path) -> None:
    """Write models for llama.cpp: ``q8_0.gguf`` and ``q4_0.gguf``."""
    import gguf
    import llama_cpp
    import numpy as np
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    out.mkdir(parents=True, exist_ok=True)
    loaded = load_file(checkpoint / "model.safetensors")
    weights = {name.removeprefix("transformer."): np.asarray(array, np.float32) for name, array in loaded.items()}
    shape = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    names = {
        "attn_norm": "ln_1", "attn_qkv": "attn.c_attn", "attn_output": "attn.c_proj", "ffn_norm": "ln_2",
        "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj",
    }  # fmt: skip
    writer: Any = gguf.GGUFWriter(str(out / "f32.gguf"), "gpt2")
    writer.add_block_count(shape["n_layer"])
    writer.add_context_length(shape["n_positions"])
    writer.add_embedding_length(shape["n_embd"])
    writer.add_feed_forward_length(shape.get("n_inner") or 4 * shape["n_embd"])
    writer.add_head_count(shape["n_head"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokens = [tokenizer.id_to_token(place) for place in range(tokenizer.get_vocab_size())]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens))
    writer.add_token_merges([f"{tokens[1]} {tokens[2]}"])  # prompts come as ids, so merges are never used
    writer.add_tensor("token_embd.weight", weights["wte.weight"])
    writer.add_tensor("position_embd.weight", weights["wpe.weight"])
    for kind in ("weight", "bias"):
        writer.add_tensor(f"output_norm.{kind}", weights[f"ln_f.{kind}"])
        for layer in range(shape["n_layer"]):
            for name, ours in names.items():
                array = weights[f"h.{layer}.{ours}.{kind}"]
                # GPT-2 keeps products as [inputs, outputs].
                turned = array.T if kind == "weight" and array.ndim > 1 else array
                writer.add_tensor(f"blk.{layer}.{name}.{kind}", np.ascontiguousarray(turned))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name, kind in (("q8_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0), ("q4_0", llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0)):
        parameters = llama_cpp.llama_model_quantize_default_params()
        parameters.ftype = kind
        target = str(out / f"{name}.gguf").encode()
        if llama_cpp.llama_model_quantize(str(out / "f32.gguf").encode(), target, parameters):
            raise RuntimeError(f"{name} could not be made")
    (out / "f32.gguf").unlink()


if __name__ == "__main__":
    {"ctranslate2": ctranslate2, "optimum": optimum, "openvino": openvino, "llama": llama}[sys.argv[1]](
        Path(sys.argv[2]), Path(sys.argv[3])
    )
