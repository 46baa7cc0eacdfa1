"""The house: which package may import which, and that the names `db` and `pipeline` mean ours."""

import os
import subprocess
import sys
from pathlib import Path

import db
import labeling_ui
import pipeline

ROOT = Path(__file__).resolve().parent.parent


def test_the_packages_are_those_of_this_checkout() -> None:
    """`db` and `pipeline` are names of other distributions too: a stray one must not win."""
    for package in (db, pipeline, labeling_ui):
        assert Path(str(package.__file__)).is_relative_to(ROOT)


def test_the_screens_and_the_command_line_start_without_torch() -> None:
    """Importing a page shows it, and without a store it says so: by then all that it needs has been imported."""
    code = (
        "import contextlib, sys, pkgutil, importlib, labeling_ui, pipeline.cli\n"
        "from db.errors import StoreError\n"
        "starts = ('__main__', 'app', 'main')\n"  # those run under a server only
        "names = [m.name for m in pkgutil.iter_modules(labeling_ui.__path__) if m.name not in starts]\n"
        "for name in names:\n"
        "    with contextlib.suppress(StoreError):\n"
        "        importlib.import_module('labeling_ui.' + name)\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'scipy.stats'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PREFLOOP_STORE_URL"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_a_help_text() -> None:
    import typer.main
    from click import Group

    from pipeline.cli import app

    def walk(command: object, path: str) -> None:
        if isinstance(command, Group):
            for name, inner in command.commands.items():
                walk(inner, f"{path} {name}")
        assert getattr(command, "help", None), f"{path} has no help"

    walk(typer.main.get_command(app), "prefloop")


def test_no_file_names_a_path_of_a_machine() -> None:
    roots = ("/" + "root/", "/" + "home/", "/" + "work/")
    for path in ROOT.rglob("*"):
        if path.suffix in {".py", ".md", ".toml", ".txt"} and ".venv" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert not any(found in text for found in roots), path
