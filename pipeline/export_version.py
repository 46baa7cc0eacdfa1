"""A version taken away: as a peft adapter or as merged weights, with tokenizer and model card, all or nothing.

The folder is in the layout that transformers, peft and vLLM read. Safetensors only.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from db.tables import Version

from . import language_model, model_card
from .checkpoints import ADAPTER_FILE, file_sha256
from .context import Context
from .errors import PrefloopError

CONFIG_FILE = "adapter_config.json"


def export(ctx: Context, version: Version, out: Path, merged: bool, base_name: str | None = None) -> Path:
    """Write the version into the new folder `out` and return it.

    Merged weights are float32. `base_name` is what the adapter's config and the card call the base model elsewhere: a
    hub id; by default that of the workspace, if it means anything outside of this machine. Raises PrefloopError for a
    version that cannot be taken away, and before anything is written.
    """
    _require_free(out)
    name = _checked(ctx, version, merged, base_name)
    draft = out.with_name(out.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        if merged:
            lm = language_model.load(ctx.base.folder, ctx.adapter(version), "float32", ctx.workspace.chat_template())
            lm.model.save_pretrained(draft, safe_serialization=True)
            tokenizer = lm.tokenizer
        else:
            _copy_adapter(ctx, version, draft, name)
            tokenizer = language_model.load_tokenizer(ctx.base.folder, ctx.workspace.chat_template())
        tokenizer.save_pretrained(draft)
        (draft / "README.md").write_text(model_card.render(model_card.facts(ctx, version, name), merged))
        _require_free(out)  # someone else may have been faster
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def push(folder: Path, repository: str) -> str:
    """Upload an exported folder to a private repository of the Hugging Face hub; its address.

    Raises PrefloopError for a repository that is public, and for what the hub refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token_for(repository))
    try:
        address = api.create_repo(repository, private=True, exist_ok=True)
        if not api.model_info(repository).private:
            raise PrefloopError(f"--push-to {repository}: that repository is public; make it private, or name another")
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors; a malformed name is a ValueError
        raise PrefloopError(
            f"--push-to {repository}: {type(error).__name__}: {str(error).splitlines()[0]}; the export is in {folder}"
        ) from None
    return str(address)


def token_for(repository: str) -> str:
    """The token for a push; PrefloopError where it could only fail. Ask before an export is made for it."""
    if repository.count("/") != 1:
        raise PrefloopError(f"--push-to {repository}: name it OWNER/NAME")
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise PrefloopError(f"--push-to {repository}: HF_TOKEN is not set; put a token that may write into it")
    return token


def _require_free(out: Path) -> None:
    if out.exists():
        raise PrefloopError(f"{out} is there already; name another folder, or delete it first")


def _checked(ctx: Context, version: Version, merged: bool, base_name: str | None) -> str:
    """What the base is called elsewhere; PrefloopError for a version that cannot be taken away like that."""
    if version.kind != "policy":
        raise PrefloopError(f"{version.name} is a {version.kind} model; only policies are exported")
    if version.stale_reason is not None:
        raise PrefloopError(f"{version.name} is stale ({version.stale_reason}); train a new one and export that")
    if version.base_sha256 != ctx.base.sha256:
        raise PrefloopError(
            f"{version.name} stands on {version.base_model}, and model.base in prefloop.toml is {ctx.base.name}; "
            "set it to that base"
        )
    adapter = ctx.adapter(version)
    if adapter is None:
        if not merged:
            raise PrefloopError(f"{version.name} is the bare base and has no adapter; export it with --merged")
    elif not (adapter / ADAPTER_FILE).is_file() or file_sha256(adapter / ADAPTER_FILE) != version.adapter_sha256:
        raise PrefloopError(f"the adapter of {version.name} is not the one that was trained; see `prefloop verify`")
    name = base_name or model_card.public_name(version.base_model)
    if name is None and not merged:
        raise PrefloopError(
            f"the base of {version.name} is the local folder {version.base_model}, which means nothing elsewhere; say "
            "with --base-name under which hub id others find it, or export with --merged"
        )
    return name or model_card.shown_name(version.base_model)


def _copy_adapter(ctx: Context, version: Version, draft: Path, base_name: str) -> None:
    adapter = ctx.adapter(version)
    assert adapter is not None
    shutil.copyfile(adapter / ADAPTER_FILE, draft / ADAPTER_FILE)
    config = json.loads((adapter / CONFIG_FILE).read_text())
    config |= {"base_model_name_or_path": base_name, "inference_mode": True}
    (draft / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
