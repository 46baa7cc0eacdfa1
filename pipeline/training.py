"""What the training stages share: LoRA settings, the result's shape, progress, and the bookkeeping around a trainer.

A training stage takes rows and settings, configures one of TRL's trainers (never subclasses it), and returns a
`TrainResult`. It knows no SQL: `on_metrics` hands figures out as they come, and the caller stores them.
"""

from __future__ import annotations

import math
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from .checkpoints import ADAPTER_FILE, file_sha256
from .errors import PrefloopError
from .language_model import best_device, resolve_dtype
from .trainer_checkpoints import train_with_checkpoints

Metric = tuple[str, int, float]  # name, step, value
OnMetrics = Callable[[list[Metric], int, int], None]  # new metrics, steps that are done, steps in all

VARIANTS = ("lora", "rslora", "dora")
CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # PEFT's initialisations that do


@dataclass(frozen=True)
class LoraSettings:
    """LoRA (Hu et al. 2021, arXiv:2106.09685): rank, scale = alpha / rank, and where the adapters sit.

    With `layer_share` below 1 only the upper layers get one, and the backward pass ends below them: on a CPU a share
    of one half nearly halves the time of a step (docs/benchmarks.md).
    """

    rank: int = 16
    alpha: int = 32
    target_modules: str = "all-linear"  # or layer names separated by commas
    layer_share: float = 0.5  # of the layers, from the top, 0 to 1
    variant: str = "lora"  # or rslora (arXiv:2312.03732): scale alpha / √rank; or dora (arXiv:2402.09353)

    def config(self, model: Any, task_type: str, modules_to_save: list[str] | None = None) -> LoraConfig:
        """PEFT's configuration for this model. Raises PrefloopError for an unknown variant or layer name."""
        if self.variant not in VARIANTS:
            reason = (
                f"{self.variant} changes the base's own weights, so that neither its adapter nor a reference stands on "
                "the recorded base"
                if self.variant in CHANGE_THE_BASE
                else f"{self.variant!r} is not known"
            )
            raise PrefloopError(f"lora.variant: {reason}; use one of {', '.join(VARIANTS)}")
        count = model.config.get_text_config().num_hidden_layers
        first = count - max(1, round(count * self.layer_share))
        in_layers = {
            name.rsplit(".", 1)[-1]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and ".layers." in name
        }
        wanted = in_layers if self.target_modules == "all-linear" else set(self.target_modules.split(","))
        if not wanted <= in_layers:
            raise PrefloopError(
                f"lora.target_modules names {sorted(wanted - in_layers)}; this model has {sorted(in_layers)}"
            )
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            use_rslora=self.variant == "rslora",
            use_dora=self.variant == "dora",
            target_modules=sorted(wanted),
            layers_to_transform=list(range(first, count)),
            task_type=task_type,
            modules_to_save=modules_to_save,
        )


@dataclass(frozen=True)
class TrainResult:
    """What a training stage leaves behind. The adapter lies in `adapter`, its weights' hash in `adapter_sha256`."""

    adapter: Path
    adapter_sha256: str
    metrics: list[Metric]
    summary: dict[str, Any]
    tokens: int  # seen in training, all epochs
    seconds: float
    peak_memory_bytes: int  # of this process since it started (CPU) or of the device (CUDA)


@dataclass
class MetricsCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Collects the trainer's logged scalars and passes them on, those of a resumed run's first part included."""

    on_metrics: OnMetrics | None
    metrics: list[Metric] = field(default_factory=list)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        past = [metric for logs in state.log_history for metric in _metrics(int(logs["step"]), logs)]
        if past:  # at once: steps that are read, one after the other, would look like a pace
            self._take(past, state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        self._take(_metrics(state.global_step, logs or {}), state.global_step, state.max_steps)
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            control.should_training_stop = True

    def _take(self, new: list[Metric], step: int, steps: int) -> None:
        self.metrics.extend(new)
        if self.on_metrics is not None:
            self.on_metrics(new, step, steps)

    def last(self, name: str) -> float:
        """The newest value of a metric; 0 before the first."""
        return next((value for known, _, value in reversed(self.metrics) if known == name), 0.0)


def _metrics(step: int, logs: dict[str, Any]) -> list[Metric]:
    return [
        (name, step, float(value))
        for name, value in logs.items()
        if isinstance(value, int | float) and name != "step" and not name.startswith("train_")
    ]


def machine_arguments(dtype: str) -> dict[str, Any]:
    """Trainer arguments for speed on this machine. TRL's defaults refuse a CPU unless its precision is chosen."""
    device = best_device()
    return {
        "use_cpu": device.type == "cpu",
        "bf16": resolve_dtype(dtype, device) is torch.bfloat16,
        "dataloader_pin_memory": device.type == "cuda",
        "gradient_checkpointing": False,  # LoRA on small models: recomputing costs more time than it saves memory
        # Pairs of like length share a batch, by the column `length`: less padding is computed.
        "train_sampling_strategy": "group_by_length",
        "remove_unused_columns": False,  # the sampler reads `length`
        "logging_nan_inf_filter": False,  # the default logs a loss that is not a number as 0
    }


def run_trainer(
    trainer: Trainer,
    metrics: MetricsCallback,
    out: Path,
    started: float,
    scaled: Mapping[str, float] | None = None,
) -> TrainResult:
    """Train, refuse a non-finite loss, and save adapter and tokenizer-free result into `out` (all or nothing).

    Weights whose name has a text of `scaled` in it are multiplied by its factor before they are saved.
    Goes on from the checkpoints that an interrupted call left beside `out`; raises as `train_with_checkpoints` does.
    The caller deletes them when the result is safe.
    """
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    train_with_checkpoints(trainer)
    losses = [(step, value) for name, step, value in metrics.metrics if name == "loss"]
    bad = [step for step, value in losses if not math.isfinite(value)]
    if bad:
        shutil.rmtree(trainer.args.output_dir, ignore_errors=True)  # nobody goes on from there
        raise PrefloopError(f"the loss became non-finite at step {bad[0]}; lower the learning rate")
    for text, factor in (scaled or {}).items():
        for name, parameter in trainer.model.named_parameters():
            if text in name:
                parameter.data.mul_(factor)
    draft = out.with_name(out.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    trainer.model.save_pretrained(draft, selected_adapters=["default"])
    draft.rename(out)
    return TrainResult(
        adapter=out,
        adapter_sha256=file_sha256(out / ADAPTER_FILE),
        metrics=metrics.metrics,
        summary={"steps": trainer.state.global_step, "final_loss": losses[-1][1] if losses else None},
        tokens=int(metrics.last("num_tokens")),
        seconds=time.monotonic() - started,
        peak_memory_bytes=peak_memory_bytes(),
    )


def peak_memory_bytes() -> int:
    """Largest resident set of this process since its start (CPU), or largest allocation (CUDA)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
