"""The first tables."""

import sqlalchemy as sa
from alembic import op

from db import append_only

revision = "0001_first"
down_revision = None
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_CHOICES = (
    "left", "right", "tie", "both_bad", "identical", "ranked", "rated", "up", "down", "written", "skip", "flag",
)  # fmt: skip
_APPEND_ONLY = ("judgment", "promotion", "event")


def _word(name: str, *words: str) -> sa.Enum:
    """A closed vocabulary: a string column with a CHECK named after `name`."""
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    op.create_table(
        "annotator",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", _word("kind", "human", "simulated"), nullable=False),
        sa.Column("role", _word("role", "annotator", "manager", "admin"), nullable=False),
        sa.Column("taste", sa.JSON(), nullable=True),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("oidc_issuer", sa.String(), nullable=True),
        sa.Column("oidc_subject", sa.String(), nullable=True),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("disabled_at", _MOMENT, nullable=True),
        sa.Column("withdrawn_at", _MOMENT, nullable=True),
        sa.CheckConstraint("(kind = 'simulated') = (taste IS NOT NULL)", name=op.f("ck_annotator_simulated_has_taste")),
        sa.CheckConstraint("(oidc_issuer IS NULL) = (oidc_subject IS NULL)", name=op.f("ck_annotator_oidc_whole")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotator")),
        sa.UniqueConstraint("name", name=op.f("uq_annotator_name")),
        sa.UniqueConstraint("oidc_issuer", "oidc_subject", name=op.f("uq_annotator_oidc_issuer_oidc_subject")),
    )
    op.create_table(
        "login",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("revoked_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotator.id"], name=op.f("fk_login_annotator_id_annotator")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_login")),
    )
    op.create_index(op.f("ix_login_annotator_id"), "login", ["annotator_id"])
    op.create_table(
        "login_failure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_failure")),
    )
    op.create_index(op.f("ix_login_failure_name_at"), "login_failure", ["name", "at"])
    op.create_table(
        "queue",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "kind", _word("kind", "pair", "ranking", "rating", "thumbs", "edit", "demonstration"), nullable=False
        ),
        sa.Column("guidelines", sa.Text(), nullable=False),
        sa.Column("aspects", sa.JSON(), nullable=True),
        sa.Column("asks_strength", sa.Boolean(), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("repeat_share", sa.Double(), nullable=False),
        sa.Column("gold_share", sa.Double(), nullable=False),
        sa.Column("paused_at", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.CheckConstraint("(kind = 'rating') = (aspects IS NOT NULL)", name=op.f("ck_queue_rating_has_aspects")),
        sa.CheckConstraint("gold_share >= 0 AND gold_share <= 0.5", name=op.f("ck_queue_gold_share_in_range")),
        sa.CheckConstraint("overlap >= 1", name=op.f("ck_queue_overlap_positive")),
        sa.CheckConstraint("repeat_share >= 0 AND repeat_share <= 0.5", name=op.f("ck_queue_repeat_share_in_range")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue")),
        sa.UniqueConstraint("name", name=op.f("uq_queue_name")),
    )
    op.create_table(
        "labeling_session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("queue_id", sa.Integer(), nullable=True),
        sa.Column("goal_kind", _word("goal_kind", "minutes", "count"), nullable=False),
        sa.Column("goal", sa.Integer(), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.CheckConstraint("goal >= 1", name=op.f("ck_labeling_session_goal_positive")),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotator.id"], name=op.f("fk_labeling_session_annotator_id_annotator")
        ),
        sa.ForeignKeyConstraint(["queue_id"], ["queue.id"], name=op.f("fk_labeling_session_queue_id_queue")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labeling_session")),
    )
    op.create_index(op.f("ix_labeling_session_annotator_id"), "labeling_session", ["annotator_id"])
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("noun", sa.String(), nullable=False),
        sa.Column("noun_id", sa.Integer(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(op.f("ix_event_noun_noun_id"), "event", ["noun", "noun_id"])

    op.create_table(
        "prompt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("split", _word("split", "train", "heldout"), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("retired_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint("sha256", name=op.f("uq_prompt_sha256")),
    )
    op.create_index(
        "ix_prompt_retired",
        "prompt",
        ["retired_at"],
        sqlite_where=sa.text("retired_at IS NOT NULL"),
        postgresql_where=sa.text("retired_at IS NOT NULL"),
    )

    op.create_table(
        "schedule",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("cron", sa.String(), nullable=True),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("new_pairs", sa.Integer(), nullable=True),
        sa.Column("reward_older", sa.Boolean(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("recipe", sa.JSON(), nullable=False),
        sa.Column("decided_slot", _MOMENT, nullable=True),
        sa.Column("paused_at", _MOMENT, nullable=True),
        sa.Column("removed_at", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.CheckConstraint(
            "cron IS NOT NULL OR new_pairs IS NOT NULL OR reward_older OR stale", name=op.f("ck_schedule_can_start")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
    )
    op.create_index(
        "uq_schedule_name",
        "schedule",
        ["name"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "schedule_wait",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("schedule_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("ticks", sa.Integer(), nullable=False),
        sa.Column("first_at", _MOMENT, nullable=False),
        sa.Column("last_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedule.id"], name=op.f("fk_schedule_wait_schedule_id_schedule")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_wait")),
    )
    op.create_index(op.f("ix_schedule_wait_schedule_id"), "schedule_wait", ["schedule_id"])
    op.create_table(
        "snapshot",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("stale_reason", sa.String(), nullable=True),
        sa.CheckConstraint("row_count >= 0", name=op.f("ck_snapshot_row_count_not_negative")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("sha256", name=op.f("uq_snapshot_sha256")),
    )
    op.create_table(
        "version",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", _word("kind", "policy", "reward"), nullable=False),
        sa.Column("base_model", sa.String(), nullable=False),
        sa.Column("base_sha256", sa.String(length=64), nullable=False),
        sa.Column("adapter_path", sa.String(), nullable=True),
        sa.Column("adapter_sha256", sa.String(length=64), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("snapshot_id", sa.Integer(), nullable=True),
        sa.Column("stale_reason", sa.String(), nullable=True),
        sa.Column("adapter_removed_at", _MOMENT, nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.CheckConstraint("(adapter_path IS NULL) = (adapter_sha256 IS NULL)", name=op.f("ck_version_adapter_whole")),
        sa.CheckConstraint(
            "adapter_path IS NOT NULL OR adapter_removed_at IS NULL", name=op.f("ck_version_adapter_was_there")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["version.id"], name=op.f("fk_version_parent_id_version")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_version_run_id_run", use_alter=True),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name=op.f("fk_version_snapshot_id_snapshot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version")),
        sa.UniqueConstraint("name", name=op.f("uq_version_name")),
        sa.UniqueConstraint("run_id", name=op.f("uq_version_run_id")),
    )
    op.create_table(
        "candidate",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("sampling_sha256", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("sample_index", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_count", sa.Integer(), nullable=False),
        sa.Column("finish_reason", _word("finish_reason", "stop", "length"), nullable=False),
        sa.Column("logprob_sum", sa.Double(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_candidate_prompt_id_prompt")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_candidate_version_id_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_candidate")),
        sa.UniqueConstraint("id", "prompt_id", name=op.f("uq_candidate_id_prompt_id")),
        sa.UniqueConstraint(
            "prompt_id", "version_id", "sampling_sha256", "seed", "sample_index", name="uq_candidate_sample"
        ),
    )
    op.create_table(
        "round",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("loop", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent_version_id", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["parent_version_id"], ["version.id"], name=op.f("fk_round_parent_version_id_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        sa.UniqueConstraint("loop", "number", name=op.f("uq_round_loop_number")),
    )
    op.create_table(
        "comparison",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("queue_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("purpose", _word("purpose", "train", "evaluate", "gold", "repeat"), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("repeats_id", sa.Integer(), nullable=True),
        sa.Column("gold_candidate_id", sa.Integer(), nullable=True),
        sa.Column("free_human", sa.Integer(), nullable=False),
        sa.Column("free_simulated", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.CheckConstraint(
            "(purpose = 'gold') = (gold_candidate_id IS NOT NULL)", name=op.f("ck_comparison_gold_names_answer")
        ),
        sa.CheckConstraint(
            "(purpose = 'repeat') = (repeats_id IS NOT NULL)", name=op.f("ck_comparison_repeat_names_original")
        ),
        sa.CheckConstraint("overlap >= 1", name=op.f("ck_comparison_overlap_positive")),
        sa.ForeignKeyConstraint(
            ["gold_candidate_id", "prompt_id"],
            ["candidate.id", "candidate.prompt_id"],
            name=op.f("fk_comparison_gold_candidate_id_prompt_id_candidate"),
        ),
        sa.CheckConstraint("free_human >= 0 AND free_simulated >= 0", name=op.f("ck_comparison_free_not_negative")),
        sa.ForeignKeyConstraint(["queue_id"], ["queue.id"], name=op.f("fk_comparison_queue_id_queue")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_comparison_prompt_id_prompt")),
        sa.ForeignKeyConstraint(["repeats_id"], ["comparison.id"], name=op.f("fk_comparison_repeats_id_comparison")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_comparison_round_id_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
        sa.UniqueConstraint("id", "prompt_id", name=op.f("uq_comparison_id_prompt_id")),
        sa.UniqueConstraint("key", name=op.f("uq_comparison_key")),
    )
    op.create_index(op.f("ix_comparison_prompt_id"), "comparison", ["prompt_id"])
    op.create_index(op.f("ix_comparison_round_id"), "comparison", ["round_id"])
    op.create_index(
        "ix_comparison_gold",
        "comparison",
        ["queue_id", "rank", "id"],
        sqlite_where=sa.text("purpose = 'gold' AND closed_at IS NULL"),
        postgresql_where=sa.text("purpose = 'gold' AND closed_at IS NULL"),
    )
    for column in ("free_human", "free_simulated"):
        op.create_index(
            f"ix_comparison_{column}",
            "comparison",
            ["queue_id", "rank", column, "id"],
            sqlite_where=sa.text(f"{column} > 0 AND closed_at IS NULL"),
            postgresql_where=sa.text(f"{column} > 0 AND closed_at IS NULL"),
        )

    op.create_table(
        "run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("state", _word("state", "queued", "running", "finished", "failed", "cancelled"), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("snapshot_id", sa.Integer(), nullable=True),
        sa.Column("version_id", sa.Integer(), nullable=True),
        sa.Column("round_id", sa.Integer(), nullable=True),
        sa.Column("schedule_id", sa.Integer(), nullable=True),
        sa.Column("due_slot", _MOMENT, nullable=True),
        sa.Column("recipe_run_id", sa.Integer(), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tokens", sa.BigInteger(), nullable=True),
        sa.Column("peak_memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("folder", sa.String(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_expires_at", _MOMENT, nullable=True),
        sa.Column("heartbeat_at", _MOMENT, nullable=True),
        sa.Column("device", sa.String(), nullable=True),
        sa.Column("not_before", _MOMENT, nullable=True),
        sa.Column("cancel_requested_at", _MOMENT, nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("stage_seconds", sa.JSON(), nullable=True),
        sa.Column("watts", sa.Double(), nullable=True),
        sa.Column("log_tail", sa.Text(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=True),
        sa.Column("finished_at", _MOMENT, nullable=True),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_run_failed_has_error")),
        sa.CheckConstraint("(schedule_id IS NULL) = (due_slot IS NULL)", name=op.f("ck_run_scheduled_has_slot")),
        sa.ForeignKeyConstraint(["recipe_run_id"], ["run.id"], name=op.f("fk_run_recipe_run_id_run")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_run_round_id_round")),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedule.id"], name=op.f("fk_run_schedule_id_schedule")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name=op.f("fk_run_snapshot_id_snapshot")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_run_version_id_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.UniqueConstraint("schedule_id", "due_slot", name=op.f("uq_run_schedule_id_due_slot")),
    )
    op.create_index(
        "uq_run_finished_fingerprint",
        "run",
        ["fingerprint"],
        unique=True,
        sqlite_where=sa.text("state = 'finished'"),
        postgresql_where=sa.text("state = 'finished'"),
    )
    op.create_index(
        "uq_run_running_device",
        "run",
        ["device"],
        unique=True,
        sqlite_where=sa.text("state = 'running' AND device IS NOT NULL"),
        postgresql_where=sa.text("state = 'running' AND device IS NOT NULL"),
    )
    op.create_index(op.f("ix_run_recipe_run_id"), "run", ["recipe_run_id"])

    op.create_table(
        "score",
        sa.Column("candidate_id", sa.Integer(), nullable=False),
        sa.Column("judge", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["candidate_id"], ["candidate.id"], name=op.f("fk_score_candidate_id_candidate")),
        sa.PrimaryKeyConstraint("candidate_id", "judge", name=op.f("pk_score")),
    )
    op.create_table(
        "verdict",
        sa.Column("judge", sa.String(), nullable=False),
        sa.Column("first_id", sa.Integer(), nullable=False),
        sa.Column("second_id", sa.Integer(), nullable=False),
        sa.Column("preferred", _word("preferred", "first", "second", "tie", "unreadable"), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["first_id"], ["candidate.id"], name=op.f("fk_verdict_first_id_candidate")),
        sa.ForeignKeyConstraint(["second_id"], ["candidate.id"], name=op.f("fk_verdict_second_id_candidate")),
        sa.PrimaryKeyConstraint("judge", "first_id", "second_id", name=op.f("pk_verdict")),
    )
    op.create_table(
        "anchor",
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_anchor_prompt_id_prompt")),
        sa.PrimaryKeyConstraint("prompt_id", name=op.f("pk_anchor")),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("display_order", sa.JSON(), nullable=False),
        sa.Column("state", _word("state", "open", "done", "expired"), nullable=False),
        sa.Column("leased_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["annotator_id"], ["annotator.id"], name=op.f("fk_assignment_annotator_id_annotator")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_assignment_comparison_id_comparison")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        sa.UniqueConstraint("comparison_id", "annotator_id", name=op.f("uq_assignment_comparison_id_annotator_id")),
    )
    op.create_index(
        op.f("ix_assignment_annotator_id_state_leased_at"), "assignment", ["annotator_id", "state", "leased_at"]
    )
    op.create_index(
        "ix_assignment_open_expires_at",
        "assignment",
        ["expires_at"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "draft",
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("saved_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name=op.f("fk_draft_assignment_id_assignment")),
        sa.PrimaryKeyConstraint("assignment_id", name=op.f("pk_draft")),
    )

    op.create_table(
        "comparison_candidate",
        sa.Column("comparison_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("candidate_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate_id", "prompt_id"],
            ["candidate.id", "candidate.prompt_id"],
            name=op.f("fk_comparison_candidate_candidate_id_prompt_id_candidate"),
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id", "prompt_id"],
            ["comparison.id", "comparison.prompt_id"],
            name=op.f("fk_comparison_candidate_comparison_id_prompt_id_comparison"),
        ),
        sa.PrimaryKeyConstraint("comparison_id", "position", name=op.f("pk_comparison_candidate")),
        sa.UniqueConstraint(
            "comparison_id", "candidate_id", name=op.f("uq_comparison_candidate_comparison_id_candidate_id")
        ),
    )
    op.create_table(
        "metric",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "name", "step", name=op.f("pk_metric")),
    )
    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", _word("kind", "promote", "rollback"), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("previous_id", sa.Integer(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["previous_id"], ["version.id"], name=op.f("fk_promotion_previous_id_version")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_promotion_run_id_run")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_promotion_version_id_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_table(
        "judgment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("choice", _word("choice", *_CHOICES), nullable=False),
        sa.Column("preferred_id", sa.Integer(), nullable=True),
        sa.Column("ranking", sa.JSON(), nullable=True),
        sa.Column("strength", sa.Integer(), nullable=True),
        sa.Column("ratings", sa.JSON(), nullable=True),
        sa.Column("written", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("rationale", sa.Text(), nullable=False),
        sa.Column("response_ms", sa.Integer(), nullable=True),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.CheckConstraint("(choice = 'ranked') = (ranking IS NOT NULL)", name=op.f("ck_judgment_ranking_iff_ranked")),
        sa.CheckConstraint(
            "(choice IN ('left', 'right')) = (preferred_id IS NOT NULL)", name=op.f("ck_judgment_preferred_iff_side")
        ),
        sa.CheckConstraint("(choice = 'rated') = (ratings IS NOT NULL)", name=op.f("ck_judgment_ratings_iff_rated")),
        sa.CheckConstraint(
            "(choice = 'written') = (written IS NOT NULL)", name=op.f("ck_judgment_written_iff_written")
        ),
        sa.CheckConstraint(
            "choice IN ('left', 'right') OR strength IS NULL", name=op.f("ck_judgment_strength_of_side")
        ),
        sa.CheckConstraint("strength >= 1 AND strength <= 3", name=op.f("ck_judgment_strength_in_range")),
        sa.CheckConstraint("choice <> 'flag' OR reason IS NOT NULL", name=op.f("ck_judgment_flag_has_reason")),
        sa.CheckConstraint(
            "choice IN ('skip', 'flag') OR reason IS NULL", name=op.f("ck_judgment_reason_of_skip_or_flag")
        ),
        sa.CheckConstraint("response_ms >= 0", name=op.f("ck_judgment_response_ms_not_negative")),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignment.id"], name=op.f("fk_judgment_assignment_id_assignment")
        ),
        sa.ForeignKeyConstraint(["preferred_id"], ["candidate.id"], name=op.f("fk_judgment_preferred_id_candidate")),
        sa.ForeignKeyConstraint(
            ["supersedes_id", "assignment_id"],
            ["judgment.id", "judgment.assignment_id"],
            name=op.f("fk_judgment_supersedes_id_assignment_id_judgment"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judgment")),
        sa.UniqueConstraint("id", "assignment_id", name=op.f("uq_judgment_id_assignment_id")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_judgment_supersedes_id")),
    )
    op.create_index(
        "uq_judgment_first",
        "judgment",
        ["assignment_id"],
        unique=True,
        sqlite_where=sa.text("supersedes_id IS NULL"),
        postgresql_where=sa.text("supersedes_id IS NULL"),
    )
    op.create_index(op.f("ix_judgment_assignment_id"), "judgment", ["assignment_id"])
    op.create_index(op.f("ix_judgment_created_at"), "judgment", ["created_at"])
    op.create_index(
        "ix_judgment_unanswered",
        "judgment",
        ["choice"],
        sqlite_where=sa.text("choice IN ('skip', 'flag')"),
        postgresql_where=sa.text("choice IN ('skip', 'flag')"),
    )

    op.create_table(
        "snapshot_judgment",
        sa.Column("snapshot_id", sa.Integer(), nullable=False),
        sa.Column("judgment_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["judgment_id"], ["judgment.id"], name=op.f("fk_snapshot_judgment_judgment_id_judgment")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name=op.f("fk_snapshot_judgment_snapshot_id_snapshot")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "judgment_id", name=op.f("pk_snapshot_judgment")),
    )
    op.create_index(op.f("ix_snapshot_judgment_judgment_id"), "snapshot_judgment", ["judgment_id"])

    events = ("finished", "failed", "cancelled", "promoted", "rolled-back", "stale", "needs-labels")
    op.create_table(
        "notification",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event", _word("event", *events), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("receiver", _word("receiver", "webhook", "command"), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("state", _word("state", "pending", "delivered", "given_up"), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", _MOMENT, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("settled_at", _MOMENT, nullable=True),
        sa.CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name=op.f("ck_notification_settled_once")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification")),
        sa.UniqueConstraint("subject", "receiver", name=op.f("uq_notification_subject_receiver")),
    )
    op.create_index(
        "ix_notification_pending",
        "notification",
        ["next_try_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )

    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        # version and run point at each other; SQLite takes the reference above before its target exists.
        op.create_foreign_key("fk_version_run_id_run", "version", "run", ["run_id"], ["id"])
    for table in _APPEND_ONLY:
        for statement in append_only.statements(table, dialect):
            op.execute(statement)


def downgrade() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        op.drop_constraint("fk_version_run_id_run", "version", type_="foreignkey")
    for table in (
        "notification",
        "snapshot_judgment",
        "judgment",
        "draft",
        "promotion",
        "metric",
        "comparison_candidate",
        "assignment",
        "score",
        "verdict",
        "anchor",
        "run",
        "comparison",
        "labeling_session",
        "queue",
        "round",
        "candidate",
        "version",
        "snapshot",
        "schedule_wait",
        "schedule",
        "prompt",
        "event",
        "login_failure",
        "login",
        "annotator",
    ):
        op.drop_table(table)
    if dialect == "postgresql":
        op.execute("DROP FUNCTION refuse_change()")
