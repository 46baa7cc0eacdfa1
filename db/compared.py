"""How versions compare, as far as the store knows: the reports of finished comparisons, and people's votes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import evaluations, versions
from .columns import JsonObject
from .evaluations import EvaluationVote
from .tables import Run


@dataclass(frozen=True, slots=True)
class Report:
    """What a compare run found."""

    run_id: int
    at: datetime
    found: JsonObject  # the report of pipeline.compare


def reports(session: Session) -> list[Report]:
    """Of every finished comparison, oldest first."""
    query = select(Run).where(Run.stage == "compare", Run.state == "finished").order_by(Run.id)
    finished = ((run.id, run.finished_at, run.summary) for run in session.scalars(query))
    return [Report(run_id, at, summary) for run_id, at, summary in finished if at and summary]


def newest_against(session: Session, a: str, b: str) -> Report | None:
    """The newest finished comparison of `a` with `b`; None when there is none."""
    found = [report for report in reports(session) if (report.found["a"], report.found["b"]) == (a, b)]
    return found[-1] if found else None


def votes(session: Session) -> dict[tuple[str, str], list[EvaluationVote]]:
    """People's votes between every two versions that they were asked about, for the newer one of the two."""
    matrix = evaluations.matrix(session)
    named = list(zip(matrix.version_ids, matrix.names, strict=True))
    found = {
        (newer, older): evaluations.votes(session, newer_id, older_id)
        for number, (older_id, older) in enumerate(named)
        for newer_id, newer in named[number + 1 :]
    }
    return {pair: given for pair, given in found.items() if given}


def bases(session: Session) -> list[str]:
    """The names of the bare bases, the first one first."""
    return [version.name for version in versions.list_versions(session, "policy") if version.adapter_path is None]
