"""Which adapters must stay on the disk, and why; and the record of those that were removed.

What is known of a version stays in any case: its run, its snapshot, what it wrote and how it was judged. Without its
adapter it only cannot answer any more.
"""

import re
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, clock, evaluations, run_queue, versions
from .hashing import canonical_json
from .tables import Round, Run, Version

UNDER_WAY = ("queued", "running")
_NAME = re.compile(r"[rv]\d[\w-]*")


def kept(session: Session, newest: int) -> dict[int, str]:
    """Versions whose adapter must stay, with the reason; beside those that are needed the newest of each kind."""
    known = versions.list_versions(session)
    by_id, by_name = {version.id: version for version in known}, {version.name: version.id for version in known}
    reasons: dict[int, str] = {}
    for version_id, why in _needed(session, by_name, known, newest):
        reasons.setdefault(version_id, why)
    made_by = {run.id: run for run in session.scalars(select(Run).join(Version, Version.run_id == Run.id))}
    for version_id in list(reasons):
        _keep_origins(version_id, reasons, by_id, by_name, made_by)
    return reasons


def mark_removed(session: Session, version_ids: Sequence[int], newest: int, actor: str) -> list[int]:
    """Record that these adapters are removed, before they are; of which of them that is true.

    Those that are needed by now, or were removed already, are left out. No promotion comes in between.
    """
    versions.hold_pointer(session)
    needed = kept(session, newest)
    query = select(Version).where(Version.id.in_(version_ids), Version.adapter_removed_at.is_(None))
    gone = [version for version in session.scalars(query).all() if version.id not in needed]
    for version in gone:
        version.adapter_removed_at = clock.now()
        audit.record(session, actor, "remove adapter", "version", version.id, {"name": version.name})
    return [version.id for version in gone]


def _needed(
    session: Session, by_name: dict[str, int], known: Sequence[Version], newest: int
) -> Iterator[tuple[int, str]]:
    """(version, why), each perhaps several times, the best reason first."""
    current = versions.current(session)
    if current is not None:
        yield current.id, "is current"
    for move in versions.history(session):
        yield move.version_id, "was promoted"
    for pair in evaluations.open_between(session):
        yield from ((version_id, "people are asked about it") for version_id in pair)
    for run in session.scalars(select(Run).where(Run.state.in_(UNDER_WAY))):
        yield from ((each, f"run {run.id} is {run.state}") for each in _of_run(run, by_name))
    again = select(Run).where(Run.stage == run_queue.STAGE, Run.state.in_(("failed", "cancelled")))
    for run in session.scalars(again):
        yield from ((each, f"`runs retry --same {run.id}` goes on with it") for each in _of_run(run, by_name))
    for round_ in session.scalars(select(Round).where(Round.summary.is_(None))):
        why = f"round {round_.number} of loop {round_.loop} is under way"
        yield round_.parent_version_id, why
        made = select(Version.id).join(Run, Run.id == Version.run_id).where(Run.round_id == round_.id)
        yield from ((version_id, why) for version_id in session.scalars(made))
    for kind in ("policy", "reward"):
        of_kind = [version for version in known if version.kind == kind and version.adapter_path is not None]
        yield from ((version.id, f"is one of the newest {newest}") for version in of_kind[-newest:])


def _of_run(run: Run, by_name: dict[str, int]) -> set[int]:
    """Every version that its config and its results name: rather one too many."""
    named = set(_NAME.findall(canonical_json([run.config, run.summary])))
    found = {by_name[name] for name in named & by_name.keys()}
    return found if run.version_id is None else found | {run.version_id}


def _keep_origins(
    version_id: int,
    reasons: dict[int, str],
    by_id: dict[int, Version],
    by_name: dict[str, int],
    made_by: dict[int, Run],
) -> None:
    """What a kept version was made from: its parents, and the reward models that taught them."""
    version = by_id[version_id]
    origins = [] if version.parent_id is None else [version.parent_id]
    if version.run_id is not None:
        origins += sorted(by_name[name] for name in _teachers(made_by[version.run_id]) & by_name.keys())
    for origin in origins:
        if origin not in reasons:
            reasons[origin] = f"{version.name} was made from it"
            _keep_origins(origin, reasons, by_id, by_name, made_by)


def _teachers(run: Run) -> set[str]:
    return set(_NAME.findall(canonical_json([run.config.get("reward"), run.config.get("rewards")])))
