"""The closed vocabularies: each is a Literal type in Python and a CHECK constraint in the store."""

from typing import Literal

Split = Literal["train", "heldout"]
FinishReason = Literal["stop", "length"]
VersionKind = Literal["policy", "reward"]
QueueKind = Literal["pair", "ranking", "rating", "thumbs", "edit", "demonstration"]
Purpose = Literal["train", "evaluate", "gold", "repeat"]
AnnotatorKind = Literal["human", "simulated"]
AnnotatorRole = Literal["annotator", "manager", "admin"]
AssignmentState = Literal["open", "done", "expired"]
Choice = Literal[
    "left", "right", "tie", "both_bad", "identical",  # about a pair
    "ranked", "rated", "up", "down", "written",  # about a ranking, ratings, thumbs, an edit or a demonstration
    "skip", "flag",  # about anything
]  # fmt: skip
FlagReason = Literal["unsafe", "personal_data", "broken_prompt"]
GoalKind = Literal["minutes", "count"]
RunState = Literal["queued", "running", "finished", "failed", "cancelled"]
Preferred = Literal["first", "second", "tie", "unreadable"]  # by a judge who is asked about two candidates in order
PromotionKind = Literal["promote", "rollback"]
NotificationEvent = Literal["finished", "failed", "cancelled", "promoted", "rolled-back", "stale", "needs-labels"]
Receiver = Literal["webhook", "command"]
DeliveryState = Literal["pending", "delivered", "given_up"]
