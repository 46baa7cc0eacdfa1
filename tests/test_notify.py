"""Notifications, against a real HTTP server and real commands: what arrives, what is refused, and what never shows."""

import base64
import hashlib
import hmac
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console
from sqlalchemy import Engine
from typer.testing import CliRunner

from db import notifications
from db.engine import reading, writing
from pipeline import notify, worker, workspace
from pipeline.cli import app
from pipeline.context import Context
from pipeline.doctor import examine
from pipeline.errors import PrefloopError
from pipeline.notify import Courier, deliver, run_command, trial
from pipeline.orders import order
from pipeline.recipe import Recipe
from pipeline.sections import NotifySection
from pipeline.webhook import Undelivered, is_public, post
from pipeline.worker import Worker

KEY = b"thirty-two bytes, all of a kind."
SECRET = "whsec_" + base64.b64encode(KEY).decode()


def context(root: Path) -> tuple[Context, Engine]:
    found = workspace.find(root)
    engine = found.open_store()
    return Context(found, engine, Console(quiet=True), actor="test"), engine


@dataclass
class Server:
    """A receiver. What it answers is decided by the path; what it was sent is kept."""

    port: int = 0
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the next answers; then 200
    open: threading.Event = field(default_factory=threading.Event)  # what /slow waits for

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.seen]


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
            if self.path == "/slow":
                made.open.wait(20)
            self.send_response(302 if self.path == "/moved" else made.statuses.pop(0) if made.statuses else 200)
            self.send_header("Location", f"http://127.0.0.1:{made.port}/taken")
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(b"thank you\x1b[2J")

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    made.port = http.server_port
    threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.open.set()
    http.shutdown()
    http.server_close()


def section(server: Server, path: str = "/hook", **changes: Any) -> NotifySection:
    """Settings that post to the server, which is of a network of one's own."""
    known: dict[str, Any] = {"url": f"http://127.0.0.1:{server.port}{path}", "private_hosts": ["127.0.0.1"]}
    return NotifySection(**{**known, "timeout_seconds": 20, "backoff_seconds": 0, "attempts": 3, **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return workspace.init(tmp_path / "ws").root


@pytest.fixture
def made(root: Path, server: Server) -> Iterator[Callable[..., Context]]:
    """Writes prefloop.toml with settings that post to the server, and opens the workspace."""
    opened = []

    def make(path: str = "/hook", more: str = "", **changes: Any) -> Context:
        values = section(server, path, **changes).model_dump(mode="json", exclude_defaults=True)
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (root / "prefloop.toml").write_text("\n".join(["[notify]", *lines, more]) + "\n")
        ctx, engine = context(root)
        opened.append(engine)
        return ctx

    yield make
    for engine in opened:
        engine.dispose()


def happens(ctx: Context, *subjects: str) -> None:
    with writing(ctx.engine) as session:
        for subject in subjects or ("run 1 failed",):
            notifications.tell(session, "failed", subject, f"so it is: {subject}", {"run": 1})


def listed(*options: str) -> Any:
    return json.loads(CliRunner().invoke(app, ["notify", "list", "--json", *options]).stdout)


def test_a_webhook_is_signed_so_that_a_receiver_can_verify_it(
    made: Callable[..., Context], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    ctx = made(secret_variable="HOOK_SECRET")
    happens(ctx)
    assert deliver(ctx) == 1
    ((headers, body),) = server.seen
    event = json.loads(body)
    assert (event["version"], event["type"], event["data"]) == (1, "failed", {"run": 1})
    assert headers["webhook-id"] == event["id"]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mine = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mine}"
    assert deliver(ctx) == 0, "it was told once"


@pytest.mark.parametrize("value", ["", "hunter2", "whsec_c2hvcnQ=", "whsec_%%%"])
def test_a_signing_secret_that_is_none_is_refused_without_showing_it(
    value: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", value)
    with pytest.raises(Undelivered, match="24 to 64 random bytes") as refused:
        post(section(server, secret_variable="HOOK_SECRET"), b"{}", "k", datetime.now(UTC))
    assert not value or value not in str(refused.value)
    assert server.seen == []


def test_what_fails_is_sent_again_under_the_same_key_and_given_up_in_the_end(
    made: Callable[..., Context], server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(root))
    ctx = made(backoff_seconds=0)
    server.statuses = [503, 500]
    happens(ctx, "run 1 failed")
    deliver(ctx)
    assert len({event["id"] for event in server.bodies}) == 1 and len(server.seen) == 3
    server.statuses = [500] * 9
    happens(ctx, "run 2 failed")
    deliver(ctx)
    newest, before, *none = listed()
    assert not none, "nobody wants a command"
    assert (newest["state"], newest["attempts"]) == ("given up", 3)
    assert newest["last error"] == "127.0.0.1 answers with status 500"
    assert (before["state"], before["attempts"], before["last error"]) == ("delivered", 3, None)
    assert '"given_up": 1' in CliRunner().invoke(app, ["status", "--json"]).stdout
    assert len(server.seen) == 6


def test_the_pauses_between_attempts_are_doubled(
    made: Callable[..., Context], server: Server, wait: Callable[[float], None]
) -> None:
    ctx = made(backoff_seconds=60, attempts=4)
    server.statuses = [500] * 9
    happens(ctx)
    tried = []
    for second in range(0, 500, 20):
        if deliver(ctx):
            tried.append(second)
        wait(20)
    assert tried == [0, 60, 180, 420]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"private_hosts": []}, "the host of notify.url is 127.0.0.1, which is not allowed"),
        ({"private_hosts": [], "hosts": ["127.0.0.1"]}, "unencrypted"),
        ({"url": "https://ok.example@127.0.0.1/"}, "cannot be used"),
        ({"url": "file:///etc/passwd"}, "cannot be used"),
        ({"url": "https://ok.example.evil.example/", "hosts": ["ok.example"]}, "ok.example.evil.example, which is not"),
        ({"url": "https://OK.example./", "hosts": ["ok.example"]}, r"ok.example., which is not"),
        ({"url": "https://127.0.0.1/", "hosts": ["127.0.0.1"], "private_hosts": []}, "is not a public one"),
        ({"url": "https://2130706433/", "hosts": ["2130706433"]}, "is not a public one"),
        ({"url": "http://169.254.169.254/", "private_hosts": ["169.254.169.254"]}, "nothing is ever sent"),
        (
            {"url": "http://[::ffff:169.254.169.254]/", "private_hosts": ["::ffff:a9fe:a9fe"]},
            "nothing is ever|not allow",
        ),
        ({"url": "https://no-such-host.invalid/", "hosts": ["no-such-host.invalid"]}, "cannot be resolved"),
    ],
)
def test_what_may_not_be_reached_is_not(changes: dict[str, Any], why: str, server: Server) -> None:
    with pytest.raises(Undelivered, match=why):
        post(section(server, **changes), b"{}", "k", datetime.now(UTC))
    assert server.seen == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:4700::1111", True),
        *(
            (address, False)
            for address in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "127.9.9.9", "0.0.0.0", "::1", "::")
        ),
        *((address, False) for address in ("169.254.169.254", "fe80::1%eth0", "fd00::1", "224.0.0.1", "100.64.0.1")),
        *((address, False) for address in ("::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::")),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_redirect_is_not_followed_and_a_slow_receiver_not_waited_for(server: Server) -> None:
    for path, why in (("/moved", r"a redirect \(302\)"), ("/slow", "timed out")):
        begun = time.monotonic()
        with pytest.raises(Undelivered, match=why):
            post(section(server, path, timeout_seconds=0.5), b"{}", "k", datetime.now(UTC))
        assert time.monotonic() - begun < 5
    assert len(server.seen) == 2, "nothing came to where the redirect points"


def test_a_host_is_resolved_once_and_reached_where_it_was_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that points elsewhere when it is asked for again (DNS rebinding)."""
    real, asked = socket.getaddrinfo, []

    def resolve(host: str, port: Any, *others: Any, **options: Any) -> Any:
        asked.append(host)
        return real("127.0.0.1" if host == "hooks.test" else host, port, *others, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"http://hooks.test:{server.port}/hook"
    answer = post(section(server, url=url, private_hosts=["hooks.test"]), b"{}", "k", datetime.now(UTC))
    assert (answer.status, answer.body) == (200, "thank you [2J"), "nothing of an answer moves a terminal"
    assert server.seen[0][0]["host"] == f"hooks.test:{server.port}"
    assert asked.count("hooks.test") == 1


def test_the_certificate_has_to_be_the_hosts_although_the_connection_is_made_by_address(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.test")]), critical=False)
    file = tmp_path / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    front = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(3):
            with front.accept()[0] as plain:
                try:
                    with tls.wrap_socket(plain, server_side=True) as secure:
                        while b"{}" not in secure.recv(65536):
                            pass
                        secure.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more, **o: real("127.0.0.1" if "test" in str(host) else host, *more, **o)
    )
    port = front.getsockname()[1]

    def sent(host: str) -> int:
        asked = section(server, url=f"https://{host}:{port}/", private_hosts=[host], timeout_seconds=5)
        return post(asked, b"{}", "k", datetime.now(UTC)).status

    with pytest.raises(Undelivered, match="certificate is refused, self-signed"):
        sent("hooks.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert sent("hooks.test") == 204
    with pytest.raises(Undelivered, match=r"certificate is refused.*other\.test"):
        sent("other.test")
    front.close()


def test_two_who_deliver_at_once_tell_everything_once(made: Callable[..., Context], server: Server) -> None:
    one, other = made(), made()
    happens(one, *(f"run {number} failed" for number in range(12)))
    threads = [threading.Thread(target=deliver, args=(ctx,)) for ctx in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.seen) == len({event["id"] for event in server.bodies}) == 12


def test_a_delivery_that_is_killed_is_made_up_for(
    made: Callable[..., Context], server: Server, root: Path, wait: Callable[[float], None]
) -> None:
    ctx = made("/slow")
    happens(ctx)
    killed = subprocess.Popen([sys.executable, "-m", "pipeline", "-w", str(root), "notify", "deliver"])
    deadline = time.monotonic() + 30
    while not server.seen and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    server.open.set()
    assert deliver(ctx) == 0, "as far as the store knows it is under way"
    wait(600)
    assert deliver(ctx) == 1
    first, second = server.bodies
    assert first == second


def test_no_receiver_however_slow_holds_up_a_worker(
    made: Callable[..., Context], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = made("/slow", events=["finished"])
    monkeypatch.setattr(worker, "POLL", 0.05)
    monkeypatch.setattr(worker, "stage_command", lambda *_: [sys.executable, "-c", "pass"])
    recipe = Recipe(name="short", stages=[{"stage": "snapshot"}])  # type: ignore[list-item]
    for _ in range(3):
        order(ctx, {"recipe": recipe.as_dict()})
    one = Worker(ctx, "cpu")
    release = threading.Timer(3, server.open.set)
    ends: list[float] = []
    carried_out = one.carry_out

    def carry_out(run: Any) -> Any:
        ended = carried_out(run)
        ends.append(time.monotonic())
        one.told_to_end = len(ends) == 3
        return ended

    monkeypatch.setattr(one, "carry_out", carry_out)
    release.start()
    assert one.work() == 3
    assert not server.open.is_set(), "it was not waited for"
    release.join()
    Courier(ctx).finish()
    one.courier.finish()
    assert {event["type"] for event in server.bodies} == {"finished"}
    assert sorted({event["data"]["run"] for event in server.bodies}) == [1, 2, 3]


def test_a_command_gets_the_event_and_no_shell_reads_it(
    made: Callable[..., Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    code = "import sys, os; open(sys.argv[1], 'w').write(sys.stdin.read()); print(os.environ.get('HOOK_SECRET'))"
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    argv = [sys.executable, "-c", code, str(taken), "; touch $HOME"]
    ctx = made(url="", secret_variable="HOOK_SECRET", command=argv)
    happens(ctx, "run 7 failed")
    assert deliver(ctx) == 1
    assert json.loads(taken.read_text())["text"] == "so it is: run 7 failed"
    assert run_command(ctx.workspace.settings.notify, b"{}") == (0, "None")


def test_a_command_that_hangs_is_killed_with_all_that_it_started(made: Callable[..., Context], tmp_path: Path) -> None:
    mark = tmp_path / "alive"
    inner = f"import time, pathlib; time.sleep(1.5); pathlib.Path({str(mark)!r}).touch()"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {inner!r}]); time.sleep(60)"
    begun = time.monotonic()
    asked = NotifySection(command=(sys.executable, "-c", code), timeout_seconds=0.5)
    assert run_command(asked, b"{}")[0] is None
    assert time.monotonic() - begun < 10
    time.sleep(1.5)
    assert not mark.exists()
    for argv, why in (((sys.executable, "-c", "exit(4)"), "exit status 4"), (("/no/such",), "cannot be started")):
        with pytest.raises(PrefloopError, match=f"command: .*{why}"):
            trial(made(url="", command=argv))
    chatty = NotifySection(command=(sys.executable, "-c", "while True: print('x' * 1000)"), timeout_seconds=0.3)
    assert len(run_command(chatty, b"")[1]) <= notify.OUTPUT


def test_secrets_are_nowhere(
    made: Callable[..., Context],
    server: Server,
    root: Path,
    tiny_base: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the signing secret nor the path of the URL: not in the store, a log, an error, a run, or what is sent."""
    from pipeline.recipe_stages import _resolve

    path = "/services/T0/B0/xoxb-quite-private"
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("PREFLOOP_NOTIFY__URL", f"http://127.0.0.1:{server.port}{path}")
    monkeypatch.setenv("PREFLOOP_HOME", str(root))
    says = f"import os, sys; print('I know {SECRET} and {path}'); sys.exit(1)"
    ctx = made(url="", secret_variable="HOOK_SECRET", attempts=1, command=(sys.executable, "-c", says))
    (root / "prefloop.toml").write_text((root / "prefloop.toml").read_text().replace(SECRET, "kept elsewhere"))
    ctx.console = Console()
    server.statuses = [500]
    happens(ctx, "run 1 failed")
    with writing(ctx.engine) as session:
        notifications.tell(session, "failed", "run 2 failed", f"it cannot post to {path}: {SECRET}", {})
    recipe = Recipe(name="short", stages=[{"stage": "snapshot"}])  # type: ignore[list-item]
    run = order(ctx, {"recipe": recipe.as_dict()})
    made_with = f'[model]\nbase = "{tiny_base}"\n'
    (root / "prefloop.toml").write_text((root / "prefloop.toml").read_text() + made_with)
    whole, engine = context(root)
    _resolve(whole, run, recipe)
    engine.dispose()
    deliver(ctx)
    with pytest.raises(PrefloopError) as refused:
        trial(ctx)
    written = [CliRunner().invoke(app, command).stdout for command in (["notify", "list"], ["status"], ["doctor"])]
    out, err = capfd.readouterr()
    texts = [out, err, str(refused.value), *written, *(body.decode() for _, body in server.seen)]
    assert "I know *** and ***" in out
    needles = [SECRET, SECRET.removeprefix("whsec_"), KEY.decode(), path]
    assert not [needle for needle in needles for text in texts if needle in text]
    told_before = b"it cannot post to"  # what came in as an event's text lies in the store as it came
    files = [file for file in root.rglob("*") if file.is_file() and file.name != "prefloop.toml"]
    assert files
    for file in files:
        content = file.read_bytes()
        for needle in needles:
            for at in _places(content, needle.encode()):
                assert told_before in content[max(0, at - 200) : at], (file, needle)


def _places(content: bytes, needle: bytes) -> Iterator[int]:
    at = content.find(needle)
    while at >= 0:
        yield at
        at = content.find(needle, at + 1)


def test_a_trial_says_what_came_back_and_what_is_wrong(
    made: Callable[..., Context], server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(root))
    ctx = made()
    assert "webhook: status 200: thank you" in CliRunner().invoke(app, ["notify", "test"]).stdout
    assert server.bodies[0]["type"] == "test"
    with reading(ctx.engine) as session:
        assert notifications.newest(session, notify.wanted(ctx.workspace.settings.notify)) == []
    made(private_hosts=[])
    refused = CliRunner().invoke(app, ["notify", "test"])
    assert refused.exit_code == 1 and "which is not allowed" in str(refused.exception)
    (finding,) = [each for each in examine(workspace.find(root)) if each.subject == "notify"]
    assert finding.level == "problem" and "not allowed" in finding.found
    made(url="")
    assert "nobody is notified" in str(CliRunner().invoke(app, ["notify", "test"]).exception)
    assert "nobody is notified" in CliRunner().invoke(app, ["notify", "list"]).stdout
