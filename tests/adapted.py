"""Versions over the tiny model whose adapters are real LoRA weights at random: each writes other text than the base."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from db import versions
from db.engine import writing
from db.tables import Version
from pipeline.context import Context
from pipeline.promote import ensure_current
from pipeline.training import ADAPTER_FILE, file_sha256


def adapted(ctx: Context, name: str, seed: int, snapshot_id: int | None = None, run_id: int | None = None) -> Version:
    """A policy of that name, child of the base, which is current where nothing is."""
    base = ensure_current(ctx)
    place = Path("runs") / name / "adapter"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(ctx.base.folder, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", init_lora_weights=False))
    model.save_pretrained(ctx.workspace.artifacts / place)
    with writing(ctx.engine) as session:
        return versions.create(
            session,
            "policy",
            name,
            base.base_model,
            base.base_sha256,
            str(place),
            file_sha256(ctx.workspace.artifacts / place / ADAPTER_FILE),
            base.id,
            run_id,
            snapshot_id,
        )
