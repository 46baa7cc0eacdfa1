"""The closed vocabularies: each is a Literal type in Python and a CHECK constraint in the store."""

from typing import Literal

Split = Literal["train", "heldout"]
FinishReason = Literal["stop", "length"]
VersionKind = Literal["policy", "reward"]
Purpose = Literal["train", "evaluate", "gold", "repeat"]
AnnotatorKind = Literal["human", "simulated"]
AnnotatorRole = Literal["annotator", "manager", "admin"]
AssignmentState = Literal["open", "done", "expired"]
Choice = Literal["left", "right", "tie", "both_bad", "skip", "ranked"]
RunState = Literal["queued", "running", "finished", "failed", "cancelled"]
PromotionKind = Literal["promote", "rollback"]
