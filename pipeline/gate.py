"""The gate: rules that the report of a comparison must pass before its first version becomes current.

Pure: the report that `compare` makes goes in, a verdict for every rule comes out. Each is a dict of plain values, so
that it is stored with the comparison and shown from there:

    rule     its name
    passed   whether it holds
    found    the figure that decides (None where it is missing: then the rule fails)
    limit    what the figure is held against
    words    a sentence with both
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .sections import GateSection

PEOPLE = "people"  # the name of people's votes among a report's judges

Rule = dict[str, Any]


def apply(report: dict[str, Any], gate: GateSection) -> dict[str, Any]:
    """`passed`, and `rules`: those that the settings switch on, in a fixed order. Version `a` is to replace `b`."""
    rules = list(_rules(report, gate))
    return {"passed": all(rule["passed"] for rule in rules), "rules": rules}


def summary(report: dict[str, Any]) -> str:
    """One sentence: what decided. The first rule if all passed, otherwise those that failed."""
    rules = report["gate"]["rules"]
    failed = [rule["words"] for rule in rules if not rule["passed"]]
    return "; ".join(failed) if failed else str(rules[0]["words"])


def _rules(report: dict[str, Any], gate: GateSection) -> Iterator[Rule]:
    ours, other = (report["versions"][report[side]] for side in ("a", "b"))
    for judge in dict.fromkeys(gate.judges or [report["deciding_judge"]]):
        yield _better(report, judge)
    if gate.people:
        yield _better(report, PEOPLE)
    if gate.no_category_worse:
        yield _no_category_worse(report)
    if gate.max_repetition_rise < 1:
        yield _rise("repetition", "of 4-word sequences repeat", ours, other, gate.max_repetition_rise, report)
    if gate.max_refusal_rise < 1:
        yield _rise("refusal", "of answers refuse", ours, other, gate.max_refusal_rise, report)
    if gate.max_kl:
        kl = ours["kl_to_base"]
        words = f"{report['a']} is {kl:.1f} nats a completion from the base; at most {gate.max_kl:g}"
        yield _rule("KL to base", kl <= gate.max_kl, kl, gate.max_kl, words)
    if gate.max_length_ratio:
        yield _length(report, ours["mean_tokens"], other["mean_tokens"], gate.max_length_ratio)
    if gate.exam:
        yield from _exams(report, gate)


def _better(report: dict[str, Any], judge: str) -> Rule:
    """The lower bound of the win rate lies above one half."""
    name = f"better by {judge}"
    rate = report["judges"].get(judge)
    if rate is None:
        asked = f"--by {PEOPLE}" if judge == PEOPLE else f"--judge {judge}"
        words = f"{judge} did not judge {report['a']} against {report['b']}; compare them with {asked}"
        return _rule(name, False, None, 0.5, words)
    figures = (
        f"{report['a']} wins {rate['rate']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}] against {report['b']} "
        f"by {judge} on {rate['prompts']} held-out prompts"
    )
    if rate.get("optimised"):
        figures += f" ({judge} taught {' and '.join(rate['optimised'])}: judged by its own teacher)"
    if rate["low"] > 0.5:
        words = f"{figures}; the lower bound is above 50 %"
    elif rate["high"] < 0.5:
        words = f"{figures}; it is worse"
    else:
        words = f"{figures}; the lower bound is not above 50 %: not shown to be better"
    return _rule(name, rate["low"] > 0.5, rate["low"], 0.5, words)


def _no_category_worse(report: dict[str, Any]) -> Rule:
    worse = [each for each in report["slices"] if each["significantly_worse"]]
    if worse:
        named = ", ".join(f"{each['category'] or 'without a category'} ({each['rate']:.0%})" for each in worse)
        words = f"{report['a']} is significantly worse than {report['b']} in {named}"
    else:
        words = f"in none of {len(report['slices'])} categories is {report['a']} significantly worse"
    return _rule("no category worse", not worse, len(worse), 0, words)


def _rise(
    measure: str, what: str, ours: dict[str, float], other: dict[str, float], limit: float, report: dict[str, Any]
) -> Rule:
    rise = ours[measure] - other[measure]
    words = (
        f"{ours[measure]:.1%} {what} in {report['a']}, {other[measure]:.1%} in {report['b']}; "
        f"at most {limit:.0%} points more"
    )
    return _rule(measure, rise <= limit, rise, limit, words)


def _length(report: dict[str, Any], ours: float, other: float, limit: float) -> Rule:
    """The longer mean over the shorter one: an answer that shrank to nothing is as suspicious as one that swelled."""
    ratio = max(ours, other) / max(min(ours, other), 1e-9)
    words = (
        f"{report['a']} writes {ours:.0f} tokens on average, {report['b']} {other:.0f}; at most {limit:g} times "
        "as many or as few"
    )
    return _rule("length", ratio <= limit, ratio, limit, words)


def _exams(report: dict[str, Any], gate: GateSection) -> Iterator[Rule]:
    """Of the judges that decide, those that are reward models have passed their exam."""
    for judge in dict.fromkeys(gate.judges or [report["deciding_judge"]]):
        if judge.startswith("reward:"):
            passed = report["judges"].get(judge, {}).get("exam_passed")
            what = {None: "has not sat its exam", False: "failed its exam", True: "passed its exam"}[passed]
            name = judge.removeprefix("reward:")
            remedy = "" if passed else f"; run `prefloop exam {name}`, or decide by another judge"
            yield _rule(f"exam of {name}", passed is True, passed, True, f"{name} {what}{remedy}")


def _rule(rule: str, passed: bool, found: float | None, limit: float, words: str) -> Rule:
    return {"rule": rule, "passed": passed, "found": found, "limit": limit, "words": words}
