"""Every table of the store. What the loop promises is a constraint here, so no caller can break it.

All moments are UTC. JSON columns hold plain JSON; where a row is found by its content, the sha256 of the canonical
text (hashing.canonical_json) stands beside it.
"""

from datetime import datetime
from typing import cast

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Table, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from . import words
from .append_only import make_append_only
from .columns import Base, BigInt, CreatedAt, Free, Id, JsonObject, Measured, Message, Sha256


class Prompt(Base):
    """A conversation ending in a user turn; its split is fixed by its content."""

    __tablename__ = "prompt"
    # Few are retired: looking them up must not read every prompt for each lease.
    __table_args__ = (
        Index(
            "ix_prompt_retired",
            "retired_at",
            sqlite_where=text("retired_at IS NOT NULL"),
            postgresql_where=text("retired_at IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    sha256: Mapped[Sha256] = mapped_column(unique=True)  # of the canonical JSON of messages
    messages: Mapped[list[Message]]
    category: Mapped[str]
    source: Mapped[str]
    split: Mapped[words.Split]
    created_at: Mapped[CreatedAt]
    retired_at: Mapped[datetime | None]


class Version(Base):
    """A policy or a reward model: a base model, plus an adapter unless it is the bare base."""

    __tablename__ = "version"
    __table_args__ = (
        CheckConstraint("(adapter_path IS NULL) = (adapter_sha256 IS NULL)", name="adapter_whole"),
        CheckConstraint("adapter_path IS NOT NULL OR adapter_removed_at IS NULL", name="adapter_was_there"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)  # "v0" the base policy, "v1"…; reward models "r1"…
    kind: Mapped[words.VersionKind]
    base_model: Mapped[str]  # the configured name
    base_sha256: Mapped[Sha256]
    adapter_path: Mapped[str | None]  # relative to the artifacts folder
    adapter_sha256: Mapped[Sha256 | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("version.id"))
    # A run starts from a version and makes at most one: the cycle is closed after both tables exist.
    run_id: Mapped[int | None] = mapped_column(
        ForeignKey("run.id", use_alter=True, name="fk_version_run_id_run"), unique=True
    )
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshot.id"))
    stale_reason: Mapped[str | None]
    adapter_removed_at: Mapped[datetime | None]  # by `prefloop gc`: all that is known of the version stays
    created_at: Mapped[CreatedAt]


class Candidate(Base):
    """One completion of a prompt by one version, with its sampling settings and seed."""

    __tablename__ = "candidate"
    __table_args__ = (
        UniqueConstraint(
            "prompt_id", "version_id", "sampling_sha256", "seed", "sample_index", name="uq_candidate_sample"
        ),
        UniqueConstraint("id", "prompt_id"),  # the target of "all candidates answer the prompt"
    )

    id: Mapped[Id]
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("version.id"))
    sampling: Mapped[JsonObject]
    sampling_sha256: Mapped[Sha256]
    seed: Mapped[BigInt]
    sample_index: Mapped[int]
    text: Mapped[Free]
    token_count: Mapped[int]
    finish_reason: Mapped[words.FinishReason]
    logprob_sum: Mapped[float]  # nats, over the completion's tokens
    created_at: Mapped[CreatedAt]


class Round(Base):
    """One turn of a loop: generate, label, train, compare, promote."""

    __tablename__ = "round"
    __table_args__ = (UniqueConstraint("loop", "number"),)

    id: Mapped[Id]
    loop: Mapped[str]
    number: Mapped[int]
    parent_version_id: Mapped[int] = mapped_column(ForeignKey("version.id"))
    settings: Mapped[JsonObject]
    summary: Mapped[JsonObject | None]
    started_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


class Queue(Base):
    """Questions of one kind, with the guidelines for answering them and what is asked beside them."""

    __tablename__ = "queue"
    __table_args__ = (
        CheckConstraint("overlap >= 1", name="overlap_positive"),
        CheckConstraint("(kind = 'rating') = (aspects IS NOT NULL)", name="rating_has_aspects"),
        CheckConstraint("repeat_share >= 0 AND repeat_share <= 0.5", name="repeat_share_in_range"),
        CheckConstraint("gold_share >= 0 AND gold_share <= 0.5", name="gold_share_in_range"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[words.QueueKind]
    guidelines: Mapped[Free] = mapped_column(default="")  # shown to annotators
    aspects: Mapped[list[str] | None]  # rated one by one, 1 to 5
    asks_strength: Mapped[bool] = mapped_column(default=False)  # of a preference: 1 slight, 2 clear, 3 strong
    overlap: Mapped[int] = mapped_column(default=1)  # of new comparisons
    priority: Mapped[int] = mapped_column(default=0)  # higher is asked first
    repeat_share: Mapped[float] = mapped_column(default=0.0)  # of tasks: an earlier pair of one's own, sides swapped
    gold_share: Mapped[float] = mapped_column(default=0.0)  # of tasks: a pair whose answer is known
    paused_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]


class Comparison(Base):
    """A question for a person about candidates of one prompt; about the prompt itself where there are none.

    `free_human` and `free_simulated` are the places that whoever comes may have (see places.py): a count kept with
    every change of an assignment, so that the next question is found without counting all of them. Gold and repeated
    questions are nobody's to come upon: theirs is 0.
    """

    __tablename__ = "comparison"
    __table_args__ = (
        *(
            Index(
                f"ix_comparison_{column}",
                "queue_id",
                "rank",
                column,
                "id",
                sqlite_where=text(f"{column} > 0 AND closed_at IS NULL"),
                postgresql_where=text(f"{column} > 0 AND closed_at IS NULL"),
            )
            for column in ("free_human", "free_simulated")
        ),
        Index(
            "ix_comparison_gold",
            "queue_id",
            "rank",
            "id",
            sqlite_where=text("purpose = 'gold' AND closed_at IS NULL"),
            postgresql_where=text("purpose = 'gold' AND closed_at IS NULL"),
        ),
        CheckConstraint("free_human >= 0 AND free_simulated >= 0", name="free_not_negative"),
        CheckConstraint("overlap >= 1", name="overlap_positive"),
        CheckConstraint("(purpose = 'repeat') = (repeats_id IS NOT NULL)", name="repeat_names_original"),
        CheckConstraint("(purpose = 'gold') = (gold_candidate_id IS NOT NULL)", name="gold_names_answer"),
        ForeignKeyConstraint(["gold_candidate_id", "prompt_id"], ["candidate.id", "candidate.prompt_id"]),
        UniqueConstraint("id", "prompt_id"),
    )

    id: Mapped[Id]
    queue_id: Mapped[int] = mapped_column(ForeignKey("queue.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), index=True)
    purpose: Mapped[words.Purpose]
    key: Mapped[Sha256] = mapped_column(unique=True)  # of all that tells it from another (comparison_rows.py)
    overlap: Mapped[int]  # judgments wanted, from annotators of one kind
    rank: Mapped[int] = mapped_column(default=0)  # within its queue; lower is asked first
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"), index=True)
    repeats_id: Mapped[int | None] = mapped_column(ForeignKey("comparison.id"))
    gold_candidate_id: Mapped[int | None]
    free_human: Mapped[int]
    free_simulated: Mapped[int]
    created_at: Mapped[CreatedAt]
    closed_at: Mapped[datetime | None]


class ComparisonCandidate(Base):
    """One of the candidates that a comparison asks about; both foreign keys share the prompt."""

    __tablename__ = "comparison_candidate"
    __table_args__ = (
        ForeignKeyConstraint(["comparison_id", "prompt_id"], ["comparison.id", "comparison.prompt_id"]),
        ForeignKeyConstraint(["candidate_id", "prompt_id"], ["candidate.id", "candidate.prompt_id"]),
        UniqueConstraint("comparison_id", "candidate_id"),
    )

    comparison_id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    candidate_id: Mapped[int]
    prompt_id: Mapped[int]


class Annotator(Base):
    """A person, or a simulated annotator with its planted taste."""

    __tablename__ = "annotator"
    __table_args__ = (
        CheckConstraint("(kind = 'simulated') = (taste IS NOT NULL)", name="simulated_has_taste"),
        CheckConstraint("(oidc_issuer IS NULL) = (oidc_subject IS NULL)", name="oidc_whole"),
        UniqueConstraint("oidc_issuer", "oidc_subject"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[words.AnnotatorKind]
    role: Mapped[words.AnnotatorRole]
    taste: Mapped[JsonObject | None]
    password_hash: Mapped[str | None]  # argon2id, with its parameters and salt
    oidc_issuer: Mapped[str | None]
    oidc_subject: Mapped[str | None]
    judged: Mapped[int] = mapped_column(default=0)  # assignments, in all: counted with every judgment, told with it
    created_at: Mapped[CreatedAt]
    disabled_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]


class Login(Base):
    """A browser in which an annotator is logged in. The browser holds the token, the store only its hash."""

    __tablename__ = "login"

    token_sha256: Mapped[Sha256] = mapped_column(primary_key=True)
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"), index=True)
    created_at: Mapped[CreatedAt]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class LoginFailure(Base):
    """A wrong password, kept while it counts against the next attempts."""

    __tablename__ = "login_failure"
    __table_args__ = (Index(None, "name", "at"),)

    id: Mapped[Id]
    name: Mapped[Free]  # as it was typed
    address: Mapped[str]  # of the client
    at: Mapped[CreatedAt]


class LabelingSession(Base):
    """An annotator sits down to label, with a goal. What they said between its two moments belongs to it."""

    __tablename__ = "labeling_session"
    __table_args__ = (CheckConstraint("goal >= 1", name="goal_positive"),)

    id: Mapped[Id]
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"), index=True)
    queue_id: Mapped[int | None] = mapped_column(ForeignKey("queue.id"))  # none: every queue, by priority
    goal_kind: Mapped[words.GoalKind]
    goal: Mapped[int]
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None]


class Assignment(Base):
    """A comparison leased to one annotator, with the display order that they saw."""

    __tablename__ = "assignment"
    __table_args__ = (
        UniqueConstraint("comparison_id", "annotator_id"),
        # Leases that ran out are looked for before every new one.
        Index(
            "ix_assignment_open_expires_at",
            "expires_at",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        # Of one annotator: what is unfinished, how much is done, and what was done last.
        Index(None, "annotator_id", "state", "leased_at"),
    )

    id: Mapped[Id]
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"))
    annotator_id: Mapped[int] = mapped_column(ForeignKey("annotator.id"))
    display_order: Mapped[list[int]]  # candidate ids, left to right
    state: Mapped[words.AssignmentState]
    leased_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class Draft(Base):
    """What an annotator has typed and chosen on an assignment, and not sent yet."""

    __tablename__ = "draft"

    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"), primary_key=True)
    content: Mapped[JsonObject]
    saved_at: Mapped[CreatedAt]


class Judgment(Base):
    """What the annotator said. Append-only: a correction is a new row that supersedes the newest of its chain."""

    __tablename__ = "judgment"
    __table_args__ = (
        CheckConstraint("(choice IN ('left', 'right')) = (preferred_id IS NOT NULL)", name="preferred_iff_side"),
        CheckConstraint("(choice = 'ranked') = (ranking IS NOT NULL)", name="ranking_iff_ranked"),
        CheckConstraint("(choice = 'rated') = (ratings IS NOT NULL)", name="ratings_iff_rated"),
        CheckConstraint("(choice = 'written') = (written IS NOT NULL)", name="written_iff_written"),
        CheckConstraint("choice IN ('left', 'right') OR strength IS NULL", name="strength_of_side"),
        CheckConstraint("strength >= 1 AND strength <= 3", name="strength_in_range"),
        CheckConstraint("choice <> 'flag' OR reason IS NOT NULL", name="flag_has_reason"),
        CheckConstraint("choice IN ('skip', 'flag') OR reason IS NULL", name="reason_of_skip_or_flag"),
        CheckConstraint("response_ms >= 0", name="response_ms_not_negative"),
        # One first judgment an assignment, one successor a judgment, all of one assignment: a chain, not a tree.
        Index(
            "uq_judgment_first",
            "assignment_id",
            unique=True,
            sqlite_where=text("supersedes_id IS NULL"),
            postgresql_where=text("supersedes_id IS NULL"),
        ),
        UniqueConstraint("supersedes_id"),
        UniqueConstraint("id", "assignment_id"),
        # Few: the questions that got no answer are counted without reading those that did.
        Index(
            "ix_judgment_unanswered",
            "choice",
            sqlite_where=text("choice IN ('skip', 'flag')"),
            postgresql_where=text("choice IN ('skip', 'flag')"),
        ),
        ForeignKeyConstraint(["supersedes_id", "assignment_id"], ["judgment.id", "judgment.assignment_id"]),
    )

    id: Mapped[Id]
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"), index=True)
    choice: Mapped[words.Choice]
    preferred_id: Mapped[int | None] = mapped_column(ForeignKey("candidate.id"))
    ranking: Mapped[list[list[int]] | None]  # groups of candidate ids, best first; one group is a tie
    strength: Mapped[int | None]  # of the preference: 1 slight, 2 clear, 3 strong
    ratings: Mapped[dict[str, int] | None]  # 1 to 5, by aspect
    written: Mapped[Free | None]  # the better answer, or the demonstration
    reason: Mapped[Free | None]  # of a skip, in words; of a flag, one of FlagReason
    rationale: Mapped[Free]
    response_ms: Mapped[int | None]
    supersedes_id: Mapped[int | None]
    created_at: Mapped[CreatedAt] = mapped_column(index=True)


class Snapshot(Base):
    """A frozen set of judgments turned into training rows; a run trains on a snapshot, never on "the table"."""

    __tablename__ = "snapshot"
    __table_args__ = (CheckConstraint("row_count >= 0", name="row_count_not_negative"),)

    id: Mapped[Id]
    sha256: Mapped[Sha256] = mapped_column(unique=True)  # of the row bytes
    policy: Mapped[JsonObject]  # how judgments became rows
    counts: Mapped[JsonObject]
    row_count: Mapped[int]
    created_at: Mapped[CreatedAt]
    stale_reason: Mapped[str | None]


class SnapshotJudgment(Base):
    """A judgment that a snapshot was made from."""

    __tablename__ = "snapshot_judgment"

    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"), primary_key=True)
    judgment_id: Mapped[int] = mapped_column(ForeignKey("judgment.id"), primary_key=True, index=True)


class Schedule(Base):
    """When to start a recipe: at due times, when a trigger asks for it, or when both come together."""

    __tablename__ = "schedule"
    __table_args__ = (
        CheckConstraint("cron IS NOT NULL OR new_pairs IS NOT NULL OR reward_older OR stale", name="can_start"),
        Index(
            "uq_schedule_name",
            "name",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    id: Mapped[Id]
    name: Mapped[str]
    cron: Mapped[str | None]  # five fields, in local time of `timezone`
    timezone: Mapped[str]
    new_pairs: Mapped[int | None]  # trigger: so many agreed pairs of people that the last run has not seen
    reward_older: Mapped[bool] = mapped_column(default=False)  # trigger: there are pairs no reward model learned from
    stale: Mapped[bool] = mapped_column(default=False)  # trigger: the current version or its judge is stale
    recipe: Mapped[JsonObject]
    decided_slot: Mapped[datetime | None]  # the newest due time that a run was started for, or that was turned down
    paused_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]  # its runs name it, so the row stays
    created_at: Mapped[CreatedAt]


class ScheduleWait(Base):
    """Why ticks of a schedule started nothing. Ticks in a row that say the same are one row."""

    __tablename__ = "schedule_wait"

    id: Mapped[Id]
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedule.id"), index=True)
    reason: Mapped[str]
    ticks: Mapped[int]
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class Run(Base):
    """One execution of a stage. A finished piece of work (its fingerprint) is not done twice."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="failed_has_error"),
        CheckConstraint("(schedule_id IS NULL) = (due_slot IS NULL)", name="scheduled_has_slot"),
        UniqueConstraint("schedule_id", "due_slot"),  # a double tick is harmless
        Index(
            "uq_run_finished_fingerprint",
            "fingerprint",
            unique=True,
            sqlite_where=text("state = 'finished'"),
            postgresql_where=text("state = 'finished'"),
        ),
        Index(  # a device trains one thing at a time, whoever leases it
            "uq_run_running_device",
            "device",
            unique=True,
            sqlite_where=text("state = 'running' AND device IS NOT NULL"),
            postgresql_where=text("state = 'running' AND device IS NOT NULL"),
        ),
    )

    id: Mapped[Id]
    stage: Mapped[str]  # or "recipe": the stages that it had done name it in recipe_run_id
    state: Mapped[words.RunState]
    fingerprint: Mapped[Sha256]  # of everything that decides the result
    config: Mapped[JsonObject]
    seed: Mapped[BigInt]
    code_version: Mapped[str]
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshot.id"))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("version.id"))  # the version it starts from
    round_id: Mapped[int | None] = mapped_column(ForeignKey("round.id"))
    schedule_id: Mapped[int | None] = mapped_column(ForeignKey("schedule.id"))
    due_slot: Mapped[datetime | None]
    recipe_run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"), index=True)
    summary: Mapped[JsonObject | None]
    error: Mapped[Free | None]
    tokens: Mapped[BigInt | None]
    peak_memory_bytes: Mapped[BigInt | None]
    folder: Mapped[str | None]  # relative to the artifacts folder
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    device: Mapped[str | None]  # "host:cuda:0"; that of a recipe which a worker has leased
    not_before: Mapped[datetime | None]  # of a queued run that is tried again
    cancel_requested_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=1)
    progress: Mapped[JsonObject | None]  # of one stage: runs.Progress, as of heartbeat_at
    stage_seconds: Mapped[JsonObject | None]  # of a recipe: how long each stage held the device, all attempts
    watts: Mapped[float | None]  # that the device draws at work, as its worker was told
    log_tail: Mapped[Free | None]  # of a recipe: what its stages wrote last, as of heartbeat_at
    created_at: Mapped[CreatedAt]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Metric(Base):
    """One measured number of a run at one step."""

    __tablename__ = "metric"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[float] = mapped_column(Measured, nullable=True)


class Score(Base):
    """What a judge ("taste:concise", "reward:r3") gives a candidate."""

    __tablename__ = "score"

    candidate_id: Mapped[int] = mapped_column(ForeignKey("candidate.id"), primary_key=True)
    judge: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]
    created_at: Mapped[CreatedAt]


class Verdict(Base):
    """What a judge who compares ("llm:NAME#…") says of two candidates in the order in which it was shown them."""

    __tablename__ = "verdict"

    judge: Mapped[str] = mapped_column(primary_key=True)
    first_id: Mapped[int] = mapped_column(ForeignKey("candidate.id"), primary_key=True)
    second_id: Mapped[int] = mapped_column(ForeignKey("candidate.id"), primary_key=True)
    preferred: Mapped[words.Preferred]
    reply: Mapped[Free]  # as it came, its end where it is long
    created_at: Mapped[CreatedAt]


class Anchor(Base):
    """A prompt of the frozen set on which drift is measured."""

    __tablename__ = "anchor"

    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompt.id"), primary_key=True)
    created_at: Mapped[CreatedAt]


class Promotion(Base):
    """The pointer `current` moved, with the evidence. Append-only; the newest row is where it points."""

    __tablename__ = "promotion"

    id: Mapped[Id]
    kind: Mapped[words.PromotionKind]
    version_id: Mapped[int] = mapped_column(ForeignKey("version.id"))
    previous_id: Mapped[int | None] = mapped_column(ForeignKey("version.id"))
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))  # the compare run that is the evidence
    evidence: Mapped[JsonObject]
    forced: Mapped[bool]
    reason: Mapped[str]
    actor: Mapped[str]
    created_at: Mapped[CreatedAt]


class Event(Base):
    """Who did what to which row, and when. Append-only."""

    __tablename__ = "event"
    __table_args__ = (Index(None, "noun", "noun_id"),)

    id: Mapped[Id]
    at: Mapped[CreatedAt]
    actor: Mapped[str]
    action: Mapped[str]
    noun: Mapped[str]
    noun_id: Mapped[int | None]  # none when the act concerns a batch
    details: Mapped[JsonObject]


class Notification(Base):
    """Something that happened, owed to one receiver: written in its transaction, delivered later (notifications.py)."""

    __tablename__ = "notification"
    __table_args__ = (
        UniqueConstraint("subject", "receiver"),  # said once
        CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_once"),
        Index(
            "ix_notification_pending",
            "next_try_at",
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[Id]
    event: Mapped[words.NotificationEvent]
    subject: Mapped[str]  # what it says, in words that no other has: "run 12 finished"
    receiver: Mapped[words.Receiver]
    key: Mapped[str]  # sent with every attempt: by it a receiver knows what it has seen
    payload: Mapped[JsonObject]
    state: Mapped[words.DeliveryState] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime]  # while somebody delivers it: when another takes it over
    last_error: Mapped[Free | None]
    created_at: Mapped[CreatedAt]
    settled_at: Mapped[datetime | None]


APPEND_ONLY = (Judgment, Promotion, Event)
for _table in APPEND_ONLY:
    make_append_only(cast(Table, _table.__table__))
