"""The playground: two versions of a real server, a blind vote, and evidence that nobody trains on."""

import openai
import pytest
from office_pages import everything, html, page, person, press
from sqlalchemy import Engine, select
from test_loop import ctx, root  # noqa: F401  # fixtures
from test_serve import models, served  # noqa: F401  # fixtures

from db import annotators, judgments, prompts, queues
from db.engine import reading, writing
from db.errors import StoreError
from db.judgments import Said
from db.playground import Answer, record
from db.tables import Candidate, Judgment, Prompt
from labeling_ui import model_server, office_playground, passage
from pipeline.served_models import ServedModels

TEXT = "What is the best way to learn a song?"


@pytest.fixture
def told(
    served: tuple[openai.OpenAI, ServedModels],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Engine:
    """The store of a server that the page knows of."""
    client, made = served
    monkeypatch.setenv("PREFLOOP_STORE_URL", made.ctx.workspace.store_url)
    monkeypatch.setenv(model_server.URL, str(client.base_url))
    with writing(made.ctx.engine) as session:
        annotators.ensure(session, "ben", "human")
    return made.ctx.engine


def test_a_blind_vote_is_kept_as_evidence_and_then_the_names_are_told(told: Engine) -> None:
    opened = page("playground")
    opened.text_area[0].set_value(TEXT)
    opened.selectbox[0].set_value("v1")
    opened.selectbox[1].set_value("v2")
    opened.number_input[1].set_value(8)
    press(opened, "ask both")
    assert not any(name in everything(opened) for name in ("v0", "v1", "v2"))
    with reading(told) as session:
        assert not session.scalars(select(Candidate)).all()  # nothing is kept before it is said
    shown = [element.value for element in opened.text]
    press(opened, "right is better")

    with reading(told) as session:
        (row,) = judgments.current(session, "human", purposes=("evaluate",))
        assert judgments.current(session) == []  # what snapshots read
        prompt = prompts.get(session, row.prompt_id)
        (left, right) = (session.get_one(Candidate, id_) for id_ in row.display_order)
        assert all(
            prompt.id not in [p.id for p in prompts.list_prompts(session, split=s)] for s in ("train", "heldout")
        )
        assert queues.by_name(session, "playground").paused_at is not None
    assert (prompt.source, prompt.messages[-1]["content"]) == ("playground", TEXT)
    assert (row.choice, row.preferred_id) == ("right", right.id)
    assert left.sampling["max_new_tokens"] == 8
    assert left.seed == right.seed
    assert left.logprob_sum < 0
    texts = [passage.readable(answer.text) for answer in (left, right) if answer.text]  # a blank one is said to be
    assert texts == shown[len(shown) - len(texts) :]
    names = {2: "v1", 3: "v2"}
    assert f"Left was {names[left.version_id]}, right was {names[right.version_id]}." in html(opened)


def test_an_annotator_may_not_play_and_a_missing_server_is_said_with_its_command(
    told: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "this is for the role manager" in html(page("playground", "ben"))
    page("playground", "me")
    monkeypatch.setenv(model_server.URL, "http://127.0.0.1:9/v1")
    refused = html(page("playground"))
    assert "no model server answers at http://127.0.0.1:9/v1" in refused
    assert "prefloop serve" in refused
    with pytest.raises(StoreError, match="against itself"):
        office_playground.ask(told, person(told, "me"), ("v1", "v1"), TEXT, 0.5, 8)


def test_a_prompt_that_was_there_stays_in_use_and_a_second_press_stores_nothing(told: Engine) -> None:
    with reading(told) as session:
        known = prompts.list_prompts(session, split="heldout")[0]
    with writing(told) as session:
        ada = annotators.ensure(session, "ada", "human", role="admin").id
    text = known.messages[-1]["content"]
    trial = office_playground.ask(told, ada, ("v0", "v1"), text, 0.9, 4)
    said = office_playground.decide(told, ada, trial, "tie", 900)
    assert office_playground.decide(told, ada, trial, "tie", 900) == said
    with reading(told) as session:
        assert len(session.scalars(select(Judgment)).all()) == 1
        assert session.get_one(Prompt, known.id).retired_at is None
    strange = Answer("v1", "0" * 64, trial.left.base_sha256, "text", 1, "stop", -1.0, {}, 0)
    with pytest.raises(StoreError, match="v1 of the model server is not that of this store"), writing(told) as session:
        other = trial.left if trial.left.version == "v0" else trial.right
        record(session, ada, trial.messages, [strange, other], Said("tie"))
