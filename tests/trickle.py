"""A workspace on the tiny model with questions of three kinds, to be answered a few at a time."""

from pathlib import Path

from test_loop import context

from db import annotators, comparisons, judgments, prompts, queues
from db.engine import writing
from db.judgments import Said
from db.tasks import AssignedTask
from db.words import QueueKind
from pipeline import import_prompts, workspace
from pipeline.context import Context
from pipeline.draw import draw
from pipeline.promote import ensure_current

SETTINGS = """
[model]
base = "{base}"
dtype = "float32"
[sampling]
temperature = 1.0
top_p = 1.0
top_k = 0
max_new_tokens = 6
[lora]
rank = 4
[training]
checkpoint_steps = 1
[rl]
second_judge = "none"
[loop]
accept_failed_exam = true
[worker]
attempts = 5
"""
FEW_STEPS = {"epochs": 3, "batch_size": 64, "max_length": 96, "learning_rate": 2e-2}
FEW_DRAWS = {"steps": 2, "max_new_tokens": 4, "prompts_per_step": 2, "generations": 2}
SMALL = {  # settings of each kind of stage that make it short
    "reward": {"reward": FEW_STEPS},
    "sft": {"sft": FEW_STEPS},
    "kto": {"kto": FEW_STEPS},
    "dpo": {"dpo": FEW_STEPS},
    "ppo": {
        "ppo": {"steps": 2, "rollout_size": 4, "epochs": 1, "batch_size": 4, "micro_batch_size": 4, "max_new_tokens": 4}
    },
    "rloo": {"rloo": FEW_DRAWS},
    "grpo": {"grpo": FEW_DRAWS},
}


def stages(*names: str) -> list[dict[str, object]]:
    """The stages of a recipe, as small as they get."""
    return [{"stage": name, "settings": SMALL.get(name, {})} for name in names]


def make(folder: Path, base: Path, count: int = 40) -> Path:
    """A workspace with so many prompts, and of each train prompt a pair, a thumb and a demonstration to be given."""
    folder.mkdir()
    (folder / "prefloop.toml").write_text(SETTINGS.format(base=base))
    workspace.init(folder)
    ctx, engine = context(folder)
    with writing(engine) as session:
        prompts.add_many(session, import_prompts.builtin().items[:count])
        asked = prompts.list_prompts(session, split="train")
    drawn = draw(ctx, ensure_current(ctx), asked, 2, ctx.workspace.settings.sampling, 0).candidates
    kinds: tuple[QueueKind, ...] = ("pair", "thumbs", "demonstration")
    with writing(engine) as session:
        made = {kind: queues.create(session, kind, kind).id for kind in kinds}
        for prompt in asked:
            ids = [candidate.id for candidate in drawn if candidate.prompt_id == prompt.id]
            for kind, shown in zip(kinds, (ids, ids[:1], []), strict=True):
                comparisons.create(session, made[kind], prompt.id, shown)
    engine.dispose()
    return folder


def label(ctx: Context, kind: QueueKind, count: int) -> None:
    """Ann answers so many questions of the kind: the shorter text wins."""
    for _ in range(count):
        with writing(ctx.engine) as session:
            ann = annotators.ensure(session, "ann", "human").id
            task = comparisons.next_assignment(session, ann, queue_id=queues.by_name(session, kind).id)
        assert task is not None, f"there is no other {kind} to be labeled"
        with writing(ctx.engine) as session:
            judgments.submit(session, task.assignment_id, ann, _said(kind, task))


def _said(kind: QueueKind, task: AssignedTask) -> Said:
    match kind:
        case "pair":
            left, right = task.texts
            return Said("left" if (len(left), left) < (len(right), right) else "right")
        case "thumbs":
            return Said("up" if task.assignment_id % 2 else "down")
        case _:
            return Said("written", written=f"Yes {task.assignment_id % 7}.")
