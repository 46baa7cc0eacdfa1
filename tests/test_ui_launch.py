"""Starting the labeling UI: nobody comes in unasked, no secret is in the process list, and it starts light."""

import subprocess
import sys
from pathlib import Path

import pytest

from labeling_ui import launch
from labeling_ui.passage import LONG, opening

STORE = "sqlite:///store.db"
OTHERS = ["0.0.0.0", "192.168.1.5", "::", "example.org", ""]


@pytest.mark.parametrize("address", OTHERS)
def test_without_a_login_an_address_that_others_can_reach_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(
        ValueError, match=r"nobody has to log in: let people log in with --auth password .* 127\.0\.0\.1"
    ):
        launch.command(STORE, 8501, address)


@pytest.mark.parametrize("options", [{"behind_proxy": True}, {"host_names": ["labels.example.org"]}])
def test_without_a_login_a_proxy_or_a_public_name_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a proxy or a host name is for others, and nobody has to log in"):
        launch.command(STORE, 8501, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_loopback_address_is_served(address: str) -> None:
    argv, environment = launch.command(STORE, 8501, address)
    assert f"--server.address={address}" in argv
    assert environment["PREFLOOP_AUTH"] == "none"


@pytest.mark.parametrize("address", OTHERS)
def test_with_a_login_any_address_is_served_under_the_names_that_are_given(address: str) -> None:
    argv, environment = launch.command(STORE, 8501, address, auth="password", host_names=["labels.example.org"])
    assert {"--server.allowedHosts=labels.example.org", f"--server.address={address}"} <= set(argv)
    assert not any("*" in argument for argument in argv)
    assert environment["PREFLOOP_AUTH"] == "password"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_every_address_at_once_needs_a_name_under_which_people_come(address: str) -> None:
    with pytest.raises(ValueError, match="say under which name people come, --host-name"):
        launch.command(STORE, 8501, address, auth="password")


def test_the_headers_of_a_proxy_are_believed_only_behind_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)

    def believed(behind_proxy: bool) -> str:
        return launch.command(STORE, 8501, auth="password", behind_proxy=behind_proxy)[1]["FORWARDED_ALLOW_IPS"]

    assert (believed(False), believed(True)) == ("", "127.0.0.1,::1")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.7")
    assert (believed(False), believed(True)) == ("", "10.0.0.7")


def test_openid_connect_needs_the_file_about_the_provider(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and --secrets names none; see docs/labeling.md"):
        launch.command(STORE, 8501, auth="oidc")
    file = tmp_path / "secrets.toml"
    with pytest.raises(ValueError, match=r"secrets\.toml is not there"):
        launch.command(STORE, 8501, auth="oidc", secrets=file)
    file.write_text("[auth]\n")
    argv, _ = launch.command(STORE, 8501, auth="oidc", secrets=file)
    assert f"--secrets.files={file}" in argv


def test_an_unknown_way_to_log_in_is_not_taken_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFLOOP_AUTH", "Password")
    with pytest.raises(ValueError, match="PREFLOOP_AUTH=Password: use none, password, oidc"):
        launch.auth()


def test_the_store_url_is_in_the_environment_and_not_in_the_process_list() -> None:
    argv, environment = launch.command("postgresql://me:secret@localhost/loop", 8501, annotator="ann")
    assert not any("secret@" in argument for argument in argv)
    assert environment["PREFLOOP_STORE_URL"] == "postgresql://me:secret@localhost/loop"
    assert environment["PREFLOOP_ANNOTATOR"] == "ann"


def test_the_command_line_refuses_as_well() -> None:
    ended = run("--store-url", STORE, "--address", "0.0.0.0")
    assert ended.returncode == 2
    assert "nobody has to log in" in ended.stderr


def test_a_store_that_is_not_there_is_one_line_and_no_server(tmp_path: Path) -> None:
    ended = run("--store-url", f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}", "--auth", "password")
    assert ended.returncode == 2
    assert "error: the folder of the SQLite store does not exist" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_labeling_process_imports_no_model_code_and_no_pipeline() -> None:
    script = (
        "import sys\n"
        "from labeling_ui import app, desk, gate, identity, launch, login, security, visit\n"
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


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labeling_ui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
