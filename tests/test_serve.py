"""A real server on the tiny model, asked by OpenAI's own client; and the same models in the terminal."""

import socket
import threading
import time
from collections.abc import Iterator

import openai
import pytest
import uvicorn
from adapted import adapted
from test_loop import context, ctx, root  # noqa: F401  # fixtures
from typer.testing import CliRunner

from db import versions
from db.engine import writing
from pipeline import language_model
from pipeline.cli import app
from pipeline.context import Context
from pipeline.errors import PrefloopError
from pipeline.generate import Request, Sampling, generate
from pipeline.language_model import LanguageModel
from pipeline.serve import build, require_safe
from pipeline.served_models import ServedModels
from pipeline.speak import speak

ASKED = [{"role": "user", "content": "What is a good name for a cat?"}]
GREEDY = Sampling(temperature=0, top_p=1, top_k=0, max_new_tokens=24)
DRAWN = Sampling(temperature=1.5, top_p=0.9, top_k=50, max_new_tokens=40)


@pytest.fixture
def models(ctx: Context) -> ServedModels:  # noqa: F811
    adapted(ctx, "v1", 1)
    adapted(ctx, "v2", 2)
    return ServedModels(ctx)


@pytest.fixture
def served(models: ServedModels) -> Iterator[tuple[openai.OpenAI, ServedModels]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(build(models, GREEDY), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
        yield client, models
    server.should_exit = True
    thread.join()


def merged(ctx: Context, name: str | None) -> LanguageModel:  # noqa: F811
    """The version as the rest of the loop loads it: its adapter merged into weights of its own."""
    adapter = ctx.workspace.artifacts / "runs" / name / "adapter" if name else None
    return language_model.load(ctx.base.folder, adapter, "float32")


def greedily(lm: LanguageModel) -> str:
    ((answer,),) = generate(lm, [Request(1, "0" * 64, tuple(ASKED), 0)], GREEDY, 0)
    return answer.text


def test_each_name_answers_with_its_own_adapter_and_current_follows_a_promotion(
    served: tuple[openai.OpenAI, ServedModels],
) -> None:
    client, models = served
    expected = {name: greedily(merged(models.ctx, name if name != "v0" else None)) for name in ("v0", "v1", "v2")}
    assert len(set(expected.values())) == 3  # the adapters' text is not the base's
    assert [model.id for model in client.models.list()] == ["current", "v0", "v1", "v2"]
    assert str(models.ctx.base.folder.parent) not in str(list(client.models.list()))

    def text(model: str) -> str | None:
        return client.chat.completions.create(model=model, messages=ASKED).choices[0].message.content

    assert {name: text(name) for name in ("v1", "v0", "v2", "v1")} == {**expected}
    assert text("current") == expected["v0"]
    with writing(models.ctx.engine) as session:
        versions.promote(session, versions.by_name(session, "v2").id, None, {}, "test")
    answer = client.chat.completions.create(model="current", messages=ASKED, n=2)
    assert (answer.model, [choice.message.content for choice in answer.choices]) == ("v2", [expected["v2"]] * 2)
    assert answer.usage.completion_tokens == 2 * 24
    assert answer.usage.prompt_tokens == len(models.base.prompt_ids(ASKED))


def test_a_stream_says_what_the_plain_answer_says_and_ends_alike(served: tuple[openai.OpenAI, ServedModels]) -> None:
    client, _ = served
    options = {"model": "v1", "messages": ASKED, "temperature": 1.5, "seed": 7, "max_tokens": 40, "top_p": 0.9}
    plain = client.chat.completions.create(**options)
    chunks = list(client.chat.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == plain.choices[0].message.content
    assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) > 3  # as it is drawn, not at the end
    assert chunks[-1].usage == plain.usage
    assert chunks[-2].choices[0].finish_reason == plain.choices[0].finish_reason
    assert client.chat.completions.create(**{**options, "seed": 8}).choices[0].message.content != (
        plain.choices[0].message.content
    )


def test_whoever_goes_away_stops_their_answer_and_the_next_one_is_answered(
    served: tuple[openai.OpenAI, ServedModels], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, models = served
    drawn = []
    forward = models.base.model.forward

    def counted(*arguments: object, **options: object) -> object:
        drawn.append(time.sleep(0.01))
        return forward(*arguments, **options)

    monkeypatch.setattr(models.base.model, "forward", counted)
    with client.chat.completions.create(model="v0", messages=ASKED, max_tokens=400, stream=True) as stream:
        next(iter(stream))
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(model="v0", messages=ASKED, max_tokens=400)
    before = len(drawn)
    assert client.chat.completions.create(model="v0", messages=ASKED, max_tokens=2).usage.completion_tokens == 2
    assert len(drawn) - before < 50  # nobody drew the other eight hundred


def test_what_cannot_be_done_is_refused_in_openais_shape(served: tuple[openai.OpenAI, ServedModels]) -> None:
    client, _ = served
    ask = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="no model 'v9' here; known: current, v0, v1, v2") as unknown:
        ask(model="v9", messages=ASKED)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="tools is not supported"):
        ask(model="v1", messages=ASKED, tools=[])
    with pytest.raises(openai.BadRequestError, match="temperature"):
        ask(model="v1", messages=ASKED, temperature=-1)
    with pytest.raises(openai.BadRequestError, match="ends in a turn of assistant"):
        ask(model="v1", messages=[*ASKED, {"role": "assistant", "content": "Tom"}])
    with pytest.raises(openai.BadRequestError, match="window 512") as long:
        ask(model="v1", messages=ASKED, max_tokens=511, stream=True)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIStatusError, match="longer than 1,000,000 bytes"):
        ask(model="v1", messages=[{"role": "user", "content": "x" * 1_000_001}])
    with pytest.raises(openai.NotFoundError, match="there is no /v1/embeddings"):
        client.embeddings.create(model="v1", input="x")
    with pytest.raises(openai.BadRequestError) as foreign:  # a foreign name that was made to point here
        client.with_options(default_headers={"host": "evil.example"}).models.list()
    assert foreign.value.response.text == "Invalid host header"


def test_a_key_is_asked_for_where_there_is_one_and_others_may_not_come_without(models: ServedModels) -> None:
    from starlette.testclient import TestClient

    guarded = TestClient(build(models, GREEDY, "secret"))
    assert guarded.get("/v1/models").status_code == 401
    assert guarded.get("/v1/models", headers={"authorization": "Bearer wrong"}).json()["error"]["code"] == (
        "invalid_api_key"
    )
    assert guarded.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
    with pytest.raises(PrefloopError, match=r"--host 0\.0\.0\.0 can be reached by others"):
        require_safe("0.0.0.0", None)
    require_safe("0.0.0.0", "secret")
    require_safe("::1", None)


def test_only_one_version_is_served_where_only_one_is_wanted(models: ServedModels) -> None:
    assert [name for name, _ in ServedModels(models.ctx, only="v1").listed()] == ["v1"]
    with pytest.raises(PrefloopError, match="no model 'v2' here; known: v1"):
        ServedModels(models.ctx, only="v1").find("v2")


def test_an_adapter_that_is_not_the_versions_is_not_served(models: ServedModels) -> None:
    path = models.ctx.workspace.artifacts / "runs" / "v1" / "adapter" / "adapter_model.safetensors"
    path.write_bytes((path.parents[2] / "v2" / "adapter" / path.name).read_bytes())
    with pytest.raises(PrefloopError, match=r"adapter of v1 has sha256 .*prefloop verify"):
        models.choose(models.find("v1"))


def test_the_pieces_are_the_candidate_that_generate_draws(models: ServedModels) -> None:
    from db.hashing import canonical_json, sha256_text

    lm = models.choose(models.find("v1"))
    wanted = [Request(1, sha256_text(canonical_json(ASKED)), tuple(ASKED), index) for index in range(3)]
    (candidates,) = generate(lm, wanted, DRAWN, 5)
    for index, candidate in enumerate(candidates):
        pieces = list(speak(lm, ASKED, DRAWN, 5, sample_index=index))
        assert "".join(piece.text for piece in pieces) == candidate.text
        assert pieces[-1].token_count == candidate.token_count
        assert pieces[-1].finish_reason == candidate.finish_reason
        assert pieces[-1].logprob_sum == pytest.approx(candidate.logprob_sum, rel=1e-4)


def test_a_stop_sequence_ends_the_answer_before_it(models: ServedModels) -> None:
    lm = models.choose(models.find("v1"))
    whole = "".join(piece.text for piece in speak(lm, ASKED, DRAWN, 5))
    stop = whole[10:14]
    pieces = list(speak(lm, ASKED, DRAWN, 5, [stop, "never said"]))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"
    assert len(pieces) < 40


def test_a_piped_chat_answers_a_line_with_a_line_and_remembers_until_reset(
    models: ServedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFLOOP_HOME", str(models.ctx.workspace.root))
    said = "Hello\n/version v1\nHello\nHello\n/reset\nHello\n/version v9\n/quit\nnever heard\n"
    result = CliRunner().invoke(app, ["chat", "--temperature", "0", "--max-tokens", "6"], input=said)
    turn = [{"role": "user", "content": "Hello"}]
    first, other = (
        "".join(p.text for p in speak(merged(models.ctx, name), turn, Sampling(0, 0.95, 50, 6), 0))
        for name in (None, "v1")
    )
    assert result.stdout.startswith(f"{first}\nv1\n")
    assert result.stdout.endswith(f"begun anew\n{other}\n")
    assert "there is no model 'v9' here" in result.stderr
    assert result.exit_code == 1  # one line could not be obeyed
