"""The gate before reinforcement learning: a reward model that was not examined, or failed, is not optimised against.

A policy finds what its reward model gets wrong, so that a flaw of the reward model becomes the policy's habit. The gate
can be opened by hand (`--accept-failed-exam`), and what was accepted stands in the run's config.
"""

from __future__ import annotations

from typing import Any

from db import runs
from db.engine import reading
from db.tables import Version

from .context import Context
from .errors import PrefloopError


def require_passed_exam(ctx: Context, reward_version: Version, accept: bool) -> dict[str, Any]:
    """What to record in the run's config about the newest finished exam of `reward_version`.

    `exam_run` is the id of that run, or None; `passed` its result, None without one; `accepted_failed_exam` says that
    the gate was closed and `accept` opened it. Raises PrefloopError for a reward model that is not one or is stale,
    and, unless `accept`, for one without a passed exam.
    """
    if reward_version.kind != "reward":
        raise PrefloopError(f"{reward_version.name} is a {reward_version.kind}, not a reward model; name one like r1")
    if reward_version.stale_reason is not None:
        raise PrefloopError(
            f"reward model {reward_version.name} is stale ({reward_version.stale_reason}); train a new one"
        )
    with reading(ctx.engine) as session:
        exam = runs.newest_finished(session, "exam", reward_version.id)
    passed = None if exam is None or exam.summary is None else bool(exam.summary["passed"])
    if not passed and not accept:
        what = "has not sat its exam" if exam is None else f"failed its exam (run {exam.id})"
        remedy = (
            f"run `prefloop exam {reward_version.name}`"
            if exam is None
            else f"see `prefloop runs show {exam.id}` and train a better one"
        )
        raise PrefloopError(
            f"reward model {reward_version.name} {what}; {remedy}, or accept it with --accept-failed-exam, which is "
            "recorded with the run"
        )
    return {
        "reward_model": reward_version.name,
        "exam_run": None if exam is None else exam.id,
        "passed": passed,
        "accepted_failed_exam": not passed,
    }
