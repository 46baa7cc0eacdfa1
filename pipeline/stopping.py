"""SIGTERM, as a service manager, a batch queue or `kill` sends it: work ends at a good moment, with the reason."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from .errors import PrefloopError


class Stopped(PrefloopError):
    """The work was told to end by SIGTERM; what was finished is kept."""


@contextmanager
def on_sigterm(act: Callable[[], object]) -> Iterator[None]:
    """Within: SIGTERM calls `act`, and nothing else happens. Python takes handlers in its main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_at_once() -> NoReturn:
    """What a step does on SIGTERM where no better moment is coming."""
    raise Stopped("stopped by SIGTERM; the same command goes on from what is finished")


def end_with(leash: int, grace: float = 3.0) -> None:
    """From now on, when the other end of the pipe `leash` is closed, this process is told to end, and killed `grace`
    seconds later. Its parent holds that end: a parent that is killed closes it, too, and leaves no orphan at work.
    """

    def watch() -> None:
        while os.read(leash, 1):  # the file descriptor itself: a buffered one would be locked when Python ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
