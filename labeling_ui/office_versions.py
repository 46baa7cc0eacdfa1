"""Versions: how they stand by each judge, what they were measured to be like, and what people are voting on now."""

from dataclasses import dataclass

from sqlalchemy import Engine

from db import compared, evaluations, family, runs
from db.columns import JsonObject
from db.family import Member
from labeling_ui.office import looking
from pipeline.stats import standings
from pipeline.stats.sequential import Sequential
from pipeline.stats.standings import Judged

# What the runs of RL call KL, by stage: the units differ, and so do the references (docs/training.md).
KL_OF_STAGE = {"ppo": "KL to its reference, nats a completion", "rloo": "KL to its reference, nats a token"}
KL_OF_STAGE["grpo"] = KL_OF_STAGE["rloo"]
_MOST_RUNS = 8  # newest of RL; more lines cannot be told apart


@dataclass(frozen=True, slots=True)
class Overview:
    members: list[Member]  # policies, oldest first
    judges: dict[str, Judged]  # people first
    measured: dict[str, dict[str, float]]  # by version, oldest first
    paths: dict[str, list[tuple[str, float, float]]]  # of runs of RL, by unit of KL: version, KL, reward
    drift: JsonObject | None  # the newest report of `prefloop drift`


@dataclass(frozen=True, slots=True)
class Evaluation:
    """People choosing between two versions."""

    a: str
    b: str
    so_far: Sequential
    owed: int  # judgments, leased ones included

    @property
    def is_open(self) -> bool:
        return self.owed > 0


def overview(engine: Engine, person_id: int) -> Overview:
    with looking(engine, person_id) as session:
        members = [member for member in family.members(session) if member.kind == "policy"]
        reports = [report.found for report in compared.reports(session)]
        votes = compared.votes(session)
        bases = compared.bases(session)
        drift = runs.list_runs(session, "drift", "finished", limit=1)
        paths: dict[str, list[tuple[str, float, float]]] = {}
        of_rl = [member for member in members if member.stage in KL_OF_STAGE and member.run_id is not None]
        for member in of_rl[-_MOST_RUNS:]:
            paths.setdefault(KL_OF_STAGE[member.stage], []).extend(  # type: ignore[index]
                (member.name, kl, reward)
                for kl, reward in _path(runs.metrics(session, member.run_id))  # type: ignore[arg-type]
            )
    measured = standings.measured(reports)
    return Overview(
        members=members,
        judges=standings.judged(reports, votes, bases),
        measured={member.name: measured[member.name] for member in members if member.name in measured},
        paths={unit: steps for unit, steps in paths.items() if steps},
        drift=drift[0].summary if drift else None,
    )


def under_way(engine: Engine, person_id: int) -> list[Evaluation]:
    """What people choose between, or have chosen between: the open ones first, the newest versions first."""
    with looking(engine, person_id) as session:
        votes = compared.votes(session)
        names = {member.id: member.name for member in family.members(session)}
        ids = {name: version_id for version_id, name in names.items()}
        asked = {(names[newer], names[older]) for older, newer in evaluations.open_between(session)}
        pairs = sorted({*votes, *asked}, key=lambda pair: (ids[pair[0]], ids[pair[1]]), reverse=True)
        found = [
            Evaluation(a, b, standings.so_far(votes.get((a, b), [])), evaluations.open_count(session, ids[a], ids[b]))
            for a, b in pairs
        ]
    return sorted(found, key=lambda each: not each.is_open)


def _path(metrics: list[tuple[str, int, float]]) -> list[tuple[float, float]]:
    """(KL, reward) of every step at which both were measured."""
    kl, reward = ({step: value for name, step, value in metrics if name == wanted} for wanted in ("kl", "reward"))
    return [(kl[step], reward[step]) for step in sorted(kl.keys() & reward.keys())]
