"""Workers, their stages, and commands as processes that can be killed, at the price of a fork.

A process that imports torch and TRL first takes seconds. Here one server imports them once and then only forks
(multiprocessing's forkserver): workers and commands from the server, stages from their worker. Process groups, pipes,
signals, logs and exit statuses are those of any worker; what is left out is `exec`, which tests/test_worker.py has.
"""

import gc
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import psutil
from sqlalchemy import Engine

from db import clock, runs
from db.engine import reading
from pipeline import worker
from pipeline.environment import prepare
from pipeline.scheduler import tick

HEAVY = ("exam", "train_dpo", "train_kto", "train_online", "train_ppo", "train_reward", "train_sft", "verify")
PRELOADED = ["forked", *(f"pipeline.{name}" for name in HEAVY), "weight_names"]
LOG = "processes.log"  # in the workspace: a line for each stage, with its process id
_machine = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Trouble:
    """What befalls a stage of this name."""

    stage: str
    kill_worker_after: float | None = None  # seconds of the stage's own computing, or when it ends if that is sooner
    kill_stage: bool = False  # with its worker, as a power cut does
    largest_file: int | None = None  # bytes beyond which no file can be written, as on a full disk


def start_worker(
    root: Path,
    device: str = "cpu",
    ahead: timedelta = timedelta(),
    trouble: Trouble | None = None,
    all_runs: bool = False,
    ticks: bool = False,
) -> BaseProcess:
    """A worker that does one run, if there is one, or stays until no run is left. Its clock is ahead by so much.

    `ticks` lets it queue before what is due.
    """
    return _started(_work, root, device, ahead, trouble, all_runs, ticks)


def start_command(root: Path, *arguments: str) -> BaseProcess:
    """`prefloop` with these arguments on the workspace."""
    return _started(_command, ["-w", str(root), *arguments], os.devnull, os.devnull)


def prefloop(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What became of `prefloop` with these arguments on the workspace, and what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _started(_command, ["-w", str(root), *arguments], str(out), str(err))
        process.join(120)
        process.kill()  # if it hangs
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode or 0, out.read_text(), err.read_text())


def _command(arguments: Sequence[str], out: str, err: str) -> None:
    for descriptor, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), descriptor)
    prepare()
    os._exit(_run(arguments))


def _started(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    checkout = Path(worker.__file__).parent.parent
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout / "tests"), str(checkout)])  # for the server to find us
    _machine.set_forkserver_preload(PRELOADED)
    try:
        process = _machine.Process(target=target, args=arguments)
        process.start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return process


def stages_alive(root: Path) -> list[int]:
    """The process ids of stages that are at work still."""
    log = root / LOG
    lines = log.read_text().splitlines() if log.exists() else []
    return [pid for pid in (int(line.split()[0]) for line in lines) if _alive(pid)]


def once_they_are_gone(root: Path, seconds: float = 30) -> float:
    """Wait until no stage is at work; how many seconds that took."""
    began = time.monotonic()
    while stages_alive(root):
        assert time.monotonic() - began < seconds, f"stages outlive their worker: {stages_alive(root)}"
        time.sleep(0.02)
    return time.monotonic() - began


def _alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _work(root: Path, device: str, ahead: timedelta, trouble: Trouble | None, all_runs: bool, ticks: bool) -> None:
    from test_loop import context

    gc.freeze()  # each training asks for garbage to be collected, which in a fork would copy all that is imported
    prepare()
    clock.now = lambda: datetime.now(UTC) + ahead
    ctx, engine = context(root)

    def fork(command: list[str], **options: Any) -> _Forked:
        return _Forked(command, engine, root, trouble, **options)

    worker.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=fork, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT, TimeoutExpired=subprocess.TimeoutExpired
    )
    one = worker.Worker(ctx, device)
    one.work(once=True, every_minute=(lambda: tick(ctx, clock.now())) if ticks else None)
    while all_runs and not one.told_to_end and _unfinished(engine):
        if one.work(once=True) == 0:  # the device is busy
            time.sleep(0.2)
    engine.dispose()


def _unfinished(engine: Engine) -> bool:
    with reading(engine) as session:
        return any(runs.list_runs(session, state=state) for state in ("queued", "running"))  # type: ignore[arg-type]


class _Forked:
    """As subprocess.Popen of a stage's command, whose new process is a fork that goes on with its arguments."""

    def __init__(
        self,
        command: list[str],
        engine: Engine,
        root: Path,
        trouble: Trouble | None,
        stdin: int,
        stdout: IO[bytes],
        stderr: int,
        start_new_session: bool,
        env: Mapping[str, str],
    ) -> None:
        assert (stdin, stderr, start_new_session) == (subprocess.PIPE, subprocess.STDOUT, True)
        engine.dispose()  # a connection that is open in a fork loses its locks (SQLite)
        leash, ours = os.pipe()
        self.status: int | None = None
        worker_pid = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.close(ours)
            for of_child, descriptor in enumerate((leash, stdout.fileno(), stdout.fileno())):
                os.dup2(descriptor, of_child)
            sys.stdin = os.fdopen(0, closefd=False)
            for told in (signal.SIGTERM, signal.SIGINT):
                signal.signal(told, signal.SIG_DFL)
            os.environ.update(env)
            with (root / LOG).open("a") as log:
                log.write(f"{os.getpid()} {command[-1]}\n")
            os._exit(_do_stage(command[command.index("-w") :], worker_pid, trouble))
        os.close(leash)
        self.stdin = os.fdopen(ours, "wb")

    def poll(self) -> int | None:
        if self.status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if found else None
        return self.status

    def wait(self, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired("stage", timeout or 0)
            time.sleep(0.01)
        assert self.status is not None
        return self.status


def _do_stage(arguments: list[str], worker_pid: int, trouble: Trouble | None) -> int:
    """The exit status of `prefloop` with these arguments, unless trouble comes first."""
    mine = trouble if trouble is not None and trouble.stage == arguments[-1] else None
    doom = threading.Lock()

    def kill_worker() -> None:
        if doom.acquire(blocking=False):
            os.kill(worker_pid, signal.SIGKILL)
            if mine is not None and mine.kill_stage:
                os.kill(os.getpid(), signal.SIGKILL)

    if mine is not None and mine.kill_worker_after is not None:
        computing = mine.kill_worker_after

        def watch() -> None:
            while time.process_time() < computing:
                time.sleep(0.005)
            kill_worker()

        threading.Thread(target=watch, daemon=True).start()
    if mine is not None and mine.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (mine.largest_file, resource.RLIM_INFINITY))
    status = _run(arguments)
    if mine is not None and mine.kill_worker_after is not None:
        kill_worker()
    return status


def _run(arguments: Sequence[str]) -> int:
    """The exit status of `prefloop` with these arguments."""
    from pipeline import cli

    sys.argv = ["prefloop", *arguments]
    status = 1
    try:
        cli.main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status
