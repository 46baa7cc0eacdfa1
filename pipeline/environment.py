"""What must be said to the training libraries before they are imported."""

import os
import warnings
from contextlib import suppress
from pathlib import Path


def prepare() -> None:
    """No telemetry, no progress bars but our own, no notices between libraries. What the user has set stays."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports every trainer's construction otherwise
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a warning whenever a process is started
    # Their bars would tear our own progress lines.
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    # Notices between those libraries about each other's next major version; the pins decide when we follow.
    for module in ("transformers", "trl", "peft", "datasets", "accelerate"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=rf"{module}\b.*")


def give_way() -> None:
    """From now on take only the processor time that others leave. Threads that are started later take it over.

    Linux, where it groups processes by session, shares the processor among the sessions first and looks at the single
    process after that (sched(7), autogroup). So a session that this process leads is made to give way as a whole.
    """
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # a kernel without groups
            Path("/proc/self/autogroup").write_text("19")
