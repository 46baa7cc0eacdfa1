"""What must be said to the training libraries before they are imported."""

import os
import warnings


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
