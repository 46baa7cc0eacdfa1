"""A version taken away: what others load answers as it does here, and its card says where it comes from."""

import json
from pathlib import Path

import pytest
import torch
from adapted import adapted
from peft import PeftModel
from test_loop import ctx, judge_by_length, root  # noqa: F401  # fixtures
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from db import runs, versions
from db.engine import writing
from pipeline import model_card
from pipeline.cli import app
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.export_version import export, push
from pipeline.pairs import RowPolicy
from pipeline.snapshot import freeze

PROBE = torch.tensor([[5, 17, 33, 60, 2, 9]])


def test_both_exports_load_elsewhere_and_give_the_same_logits(ctx: Context, tmp_path: Path) -> None:  # noqa: F811
    version = adapted(ctx, "v1", 1)
    merged = AutoModelForCausalLM.from_pretrained(export(ctx, version, tmp_path / "merged", merged=True))
    folder = export(ctx, version, tmp_path / "adapter", merged=False, base_name="someone/tiny")
    base = AutoModelForCausalLM.from_pretrained(ctx.base.folder, dtype=torch.float32)
    with torch.inference_mode():
        plain = base(PROBE).logits
        over = PeftModel.from_pretrained(base, str(folder))(PROBE).logits
        whole = merged(PROBE).logits
    assert merged.dtype is torch.float32
    assert torch.allclose(whole, over, atol=1e-3)
    assert not torch.allclose(whole, plain, atol=1e-1)
    for made in (folder, tmp_path / "merged"):
        assert AutoTokenizer.from_pretrained(made).chat_template
        assert "# v1" in (made / "README.md").read_text()
    written = json.loads((folder / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == "someone/tiny"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "merged", "ws"]  # nothing half-written


def test_what_cannot_be_taken_away_is_refused_and_leaves_nothing(ctx: Context, tmp_path: Path) -> None:  # noqa: F811
    version = adapted(ctx, "v1", 1)
    base = ctx.base_version()
    out = tmp_path / "out"
    with pytest.raises(PrefloopError, match="local folder .* say with --base-name"):
        export(ctx, version, out, merged=False)
    with pytest.raises(PrefloopError, match="v0 is the bare base and has no adapter"):
        export(ctx, base, out, merged=False)
    with pytest.raises(PrefloopError, match="is there already; name another folder"):
        export(ctx, version, tmp_path, merged=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_card, "render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(ctx, version, out, merged=True)
    adapter = ctx.workspace.artifacts / "runs" / "v1" / "adapter" / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"?")
    with pytest.raises(PrefloopError, match="not the one that was trained"):
        export(ctx, version, out, merged=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ws"]


def test_a_push_without_a_token_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(PrefloopError, match="HF_TOKEN is not set"):
        push(tmp_path, "someone/tiny")
    with pytest.raises(PrefloopError, match="OWNER/NAME"):
        push(tmp_path, "tiny")


def test_the_card_tells_data_annotators_agreement_and_promotion(
    ctx: Context,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(ctx.workspace.root))
    judge_by_length(ctx, rows=6, names=("ann", "bob"))
    snapshot = freeze(ctx, RowPolicy(annotators="human")).snapshot
    version = adapted(ctx, "v1", 1, snapshot_id=snapshot.id)
    summary = {"a": "v0", "b": "v1", "confidence": 0.95,
               "judges": {"reward:r1": {"rate": 0.25, "low": 0.125, "high": 0.375, "prompts": 30}}}  # fmt: skip
    with writing(ctx.engine) as session:
        run = runs.start(session, "compare", {}, 0, "code", "1" * 64)
        runs.finish(session, run.id, summary)
        versions.promote(session, version.id, run.id, {}, "test", forced=True, reason="for a trial")
    shown = CliRunner().invoke(app, ["versions", "card", "v1"], catch_exceptions=False).output
    assert f"snapshot sha256 `{snapshot.sha256}`" in shown
    assert "annotators: 2 human\n" in shown
    assert "agreement: 100.0%" in shown  # both said the longer one
    assert "wins 75.0% [62.5%, 87.5%] against v0 by `reward:r1` on 30 held-out prompts" in shown
    assert "It is the current version." in shown
    assert "promoted, forced: for a trial" in shown
    assert str(ctx.base.folder.parent) not in shown  # a path of this machine means nothing elsewhere


def test_a_base_is_named_as_others_know_it(tmp_path: Path) -> None:
    assert model_card.public_name("SmolLM2-135M-Instruct") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert model_card.public_name("someone/a-model") == "someone/a-model"
    assert model_card.public_name(str(tmp_path)) is None
