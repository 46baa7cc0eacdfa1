"""How versions compare, as far as the store knows: the reports of finished comparisons, and people's votes."""

from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import evaluations, versions
from .columns import JsonObject
from .evaluation_pairs import FIRST, is_between, of_pairs
from .evaluations import EvaluationVote
from .tables import Comparison, Run


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
    """People's votes between every two versions that have any, for the newer one of the two.

    Where answers drawn in several ways were asked about, those on the newest way alone: they are one evaluation.
    """
    matrix = evaluations.matrix(session)
    found: dict[tuple[str, str], list[EvaluationVote]] = {}
    for newer, older in combinations(reversed(range(len(matrix.names))), 2):
        if matrix.wins[newer][older] + matrix.wins[older][newer]:
            ids = matrix.version_ids[newer], matrix.version_ids[older]
            sampling, seed = _drawn(session, *ids)
            given = evaluations.votes(session, *ids, sampling=sampling, seed=seed)
            found[matrix.names[newer], matrix.names[older]] = given
    return {pair: given for pair, given in found.items() if given}


def bases(session: Session) -> list[str]:
    """The names of the bare bases, the first one first."""
    return [version.name for version in versions.list_versions(session, "policy") if version.adapter_path is None]


def _drawn(session: Session, a_id: int, b_id: int) -> tuple[JsonObject, int]:
    """How the answers of the newest evaluation of the two were drawn: sampling settings and seed."""
    query = of_pairs(select(FIRST.sampling, FIRST.seed)).where(is_between(a_id, b_id))
    sampling, seed = session.execute(query.order_by(Comparison.id.desc()).limit(1)).one()
    return sampling, seed
