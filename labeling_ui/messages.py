"""What the label page says to the server: each message is checked here before anything comes of it.

A message is sent again until it was heard (see outbox.js): hearing one twice changes nothing.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from db.columns import JsonObject
from db.words import Choice, GoalKind

ViewMode = Literal["plain", "differences", "rendered"]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: str  # of the message, made in the browser


class Start(_Message):
    """Sit down to label."""

    kind: Literal["start"]
    queue_id: int | None  # None: every queue, by priority
    goal_kind: GoalKind
    goal: int = Field(ge=1, le=10_000)


class Answer(_Message):
    """What the annotator says about the question on screen, or says anew instead of the judgment `replaces`.

    `ranking` holds groups of places on the screen, 0 for the first: the browser knows no candidate's id.
    """

    kind: Literal["answer"]
    assignment_id: int
    replaces: int | None
    choice: Choice
    ranking: list[list[Annotated[int, Field(ge=0)]]] | None = None
    strength: int | None = None
    ratings: dict[str, int] | None = None
    written: str | None = None
    reason: str | None = None
    rationale: str = ""
    response_ms: int = Field(ge=0)


class Draft(_Message):
    """What was typed and chosen so far."""

    kind: Literal["draft"]
    assignment_id: int
    content: JsonObject


class Stir(_Message):
    """Somebody is there, still thinking about the question."""

    kind: Literal["stir"]
    assignment_id: int


class View(_Message):
    """How to show the texts of the question on screen."""

    kind: Literal["view"]
    mode: ViewMode
    whole: bool  # also what is beyond the usual length


class Act(_Message):
    """Change the last answer, or keep it after all; end the session, go on past its goal, or choose another one;
    look whether there is something to do."""

    kind: Literal["change", "keep", "end", "go_on", "again", "look"]


class Strange(_Message):
    """Anything else: the page is of another version of the code."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


Known = Annotated[Start | Answer | Draft | Stir | View | Act, Field(discriminator="kind")]
Message = Known | Strange
_known: TypeAdapter[Known] = TypeAdapter(Known)


def read(sent: object) -> Message | None:
    """The message; None for what is none at all."""
    try:
        return _known.validate_python(sent)
    except ValidationError:
        pass
    try:
        return Strange.model_validate(sent)
    except ValidationError:
        return None
