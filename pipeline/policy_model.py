"""The policy as TRL's trainers take it: base weights, in 4 bits if asked, under the parent's adapter if it has one."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from .errors import PrefloopError
from .language_model import quiet_loading, resolve_dtype, with_contiguous_head


def load_policy(base: Path, parent_adapter: Path | None, dtype: str, load_in_4bit: bool) -> Any:
    """The base, under the parent's adapter ready to be trained further, or bare."""
    model = load_base(base, dtype, load_in_4bit)
    if parent_adapter is None:
        return model
    return PeftModel.from_pretrained(model, str(parent_adapter), is_trainable=True, use_safetensors=True)


def load_base(base: Path, dtype: str, load_in_4bit: bool) -> Any:
    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(
            base,
            dtype=resolve_dtype(dtype),
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="eager",  # the fused kernel's backward is the slower one on CPU
            **four_bit_arguments(load_in_4bit, dtype),
        )
    return with_contiguous_head(model)


def four_bit_arguments(load_in_4bit: bool, dtype: str) -> dict[str, Any]:
    """What `from_pretrained` needs for frozen weights in 4-bit NormalFloat (QLoRA, arXiv:2305.14314); nothing if off.

    Raises PrefloopError where it cannot work.
    """
    if not load_in_4bit:
        return {}
    missing = [
        what
        for what, there in (
            ("a CUDA device", torch.cuda.is_available()),
            ("the package bitsandbytes", find_spec("bitsandbytes") is not None),
        )
        if not there
    ]
    if missing:
        raise PrefloopError(f"model.load_in_4bit = true needs {' and '.join(missing)}, not found here; set it to false")
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=resolve_dtype(dtype),
        )
    }
