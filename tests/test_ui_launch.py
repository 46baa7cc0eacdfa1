"""Starting the labeling UI: on this machine only, without secrets in the process list, and light."""

import subprocess
import sys

import pytest

from labeling_ui import launch
from labeling_ui.passage import LONG, opening


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_an_address_that_others_can_reach_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(ValueError, match=r"no login yet: use 127\.0\.0\.1"):
        launch.command("sqlite:///store.db", 8501, address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_loopback_address_is_served(address: str) -> None:
    argv, _ = launch.command("sqlite:///store.db", 8501, address)
    assert f"--server.address={address}" in argv


def test_the_store_url_is_in_the_environment_and_not_in_the_process_list() -> None:
    argv, environment = launch.command("postgresql://me:secret@localhost/loop", 8501, annotator="ann")
    assert not any("secret" in argument for argument in argv)
    assert environment["PREFLOOP_STORE_URL"] == "postgresql://me:secret@localhost/loop"
    assert environment["PREFLOOP_ANNOTATOR"] == "ann"


def test_the_command_line_refuses_as_well() -> None:
    command = [sys.executable, "-m", "labeling_ui", "--store-url", "sqlite:///store.db", "--address", "0.0.0.0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "no login yet" in ended.stderr


def test_the_labeling_process_imports_no_model_code_and_no_pipeline() -> None:
    script = (
        "import sys\n"
        "from labeling_ui import app, desk, keys, launch, passage, security, visit\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'pipeline'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_long_text_is_opened_between_words_and_an_unbroken_one_is_cut() -> None:
    words = opening("word " * 1000)
    assert words.endswith("word …")
    assert LONG - 6 <= len(words) <= LONG + 2
    assert opening("x" * 5000) == "x" * LONG + " …"
