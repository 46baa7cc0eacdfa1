"""The anchor set: held-out prompts that are chosen once and then frozen, so that drift is measured on the same ones."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from . import audit, clock, prompts
from .errors import StoreError
from .tables import Anchor, Prompt
from .upsert import upsert


def ensure(session: Session, count: int, actor: str = audit.SYSTEM) -> list[Prompt]:
    """The anchors, in the order of their content hash. If there are none yet, the first `count` held-out prompts of
    that order, a random one, become them: all that there are, if they are fewer.

    A set that is there stays as it is, whatever `count`, and a retired prompt stays in it. StoreError where there is
    no held-out prompt to choose.
    """
    query = select(Prompt).join(Anchor, Anchor.prompt_id == Prompt.id).order_by(Prompt.sha256)
    chosen = list(session.scalars(query))
    if chosen:
        return chosen
    wanted = prompts.list_prompts(session, split="heldout")[:count]
    if not wanted:
        raise StoreError("there are no held-out prompts to anchor drift to; import more prompts")
    statement = upsert(session, Anchor).on_conflict_do_nothing(index_elements=["prompt_id"])
    session.execute(statement, [{"prompt_id": prompt.id, "created_at": clock.now()} for prompt in wanted])
    audit.record(session, actor, "choose", "anchor", None, {"prompts": len(wanted)})
    return list(session.scalars(query))
