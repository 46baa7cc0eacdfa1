"""A workspace with two versions to compare: the tiny base, and an adapter of noise on it that writes something else."""

from pathlib import Path

from rich.console import Console
from tiny_model import noisy_adapter

from db import prompts, versions
from db.engine import writing
from pipeline import import_prompts, workspace
from pipeline.context import Context
from pipeline.promote import ensure_current

SETTINGS = """
[model]
base = "{base}"
dtype = "float32"
[sampling]
temperature = 1.0
top_p = 1.0
top_k = 0
max_new_tokens = 12
[lora]
rank = 4
"""


def two_versions(root: Path, tiny_base: Path, settings: str = "", imported: int = 100) -> Context:
    """v0, which is current, and v1. `settings` are more sections of prefloop.toml."""
    root.mkdir()
    (root / "prefloop.toml").write_text(SETTINGS.format(base=tiny_base) + settings)
    made = workspace.init(root)
    ctx = Context(made, made.open_store(), Console(quiet=True), actor="test")
    with writing(ctx.engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:imported])
    base = ensure_current(ctx)
    sha256 = noisy_adapter(tiny_base, made.artifacts / "runs" / "noise")
    with writing(ctx.engine) as session:
        versions.create(
            session, "policy", "v1", base.base_model, base.base_sha256, "runs/noise", sha256, base.id, None, None
        )
    return ctx
