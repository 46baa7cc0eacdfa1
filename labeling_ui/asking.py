"""A task as the question that the label page draws: what it is about, and what was said about it so far."""

from dataclasses import asdict

from db.columns import JsonObject
from db.comparisons import AssignedTask
from db.judgments import LastJudgment, Said
from labeling_ui.messages import ViewMode
from labeling_ui.passage import passages


def key_of(task: AssignedTask, changing: LastJudgment | None) -> str:
    """Names the question: an answer carries it, so that it cannot be taken for one about another question."""
    return f"{task.assignment_id}" if changing is None else f"{task.assignment_id}-{changing.judgment_id}"


def question(task: AssignedTask, changing: LastJudgment | None, mode: ViewMode, whole: bool) -> JsonObject:
    """The question as data for the browser. No id of a candidate or a version is in it."""
    contents = [message["content"] for message in task.messages]
    turns = passages(contents, whole, "rendered" if mode == "rendered" else "plain")
    return {
        "key": key_of(task, changing),
        "assignment_id": task.assignment_id,
        "replaces": changing.judgment_id if changing else None,
        "kind": task.kind,
        "turns": [{"role": message["role"], **turn} for message, turn in zip(task.messages, turns, strict=True)],
        "texts": passages(task.texts, whole, mode),
        "original": task.texts[0] if task.kind == "edit" else None,  # to be written better
        "aspects": task.aspects or [],
        "asks_strength": task.asks_strength,
        "guidelines": task.guidelines,
        "mode": mode,
        "before": changing.said.choice if changing else None,
        "draft": said_before(changing.said, task) if changing else task.draft,
    }


def said_before(said: Said, task: AssignedTask) -> JsonObject:
    """An answer in the words of a draft: places on the screen in the stead of candidates."""
    places = {candidate_id: place for place, candidate_id in enumerate(task.candidate_ids)}
    content = {field: value for field, value in asdict(said).items() if field != "response_ms"}
    content["ranking"] = said.ranking and [[places[candidate_id] for candidate_id in group] for group in said.ranking]
    return content
