"""Commands that use what the loop made: serve it, talk to it, take it away."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from db import versions
from db.engine import reading

from .cli_common import JsonFlag, console, opened, print_json
from .errors import PrefloopError

if TYPE_CHECKING:
    from .context import Context
    from .served_models import ServedModels


def serve(
    version: Annotated[str | None, typer.Option(help="Serve this one alone: a version, or current.")] = None,
    host: Annotated[str | None, typer.Option(help="Where to listen; others than loopback need a key.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Environment variable that holds the key to show.")] = None,
) -> None:
    """Answer like OpenAI's chat API, with `current` and every version by name (docs/serving.md)."""
    from .serve import build, require_safe
    from .served_models import default_sampling

    with opened() as ctx:
        section = ctx.workspace.settings.serve
        host, port = host or section.host, port or section.port
        key = _key(section.api_key_env if api_key_env is None else api_key_env)
        require_safe(host, key)
        models = _models(ctx, version, version or "current")
        import uvicorn

        app = build(models, default_sampling(ctx.workspace.settings), key)
        names = ", ".join(name for name, _ in models.listed())
        shown = f"[{host}]" if ":" in host else host
        console.print(f"http://{shown}:{port}/v1 answers as {names}", highlight=False, soft_wrap=True)
        uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


def chat(
    version: Annotated[str, typer.Option(help="Who answers: a version, or current.")] = "current",
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy; else as in prefloop.toml.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of every answer; without it each is another.")] = None,
) -> None:
    """Talk to a version in the terminal. Piped, every line is a turn: one line in, one answer out."""
    from dataclasses import replace

    from .chat import HELP, Chat, converse
    from .served_models import default_sampling

    with opened(quiet=True) as ctx:
        sampling = default_sampling(ctx.workspace.settings)
        sampling = replace(
            sampling,
            temperature=sampling.temperature if temperature is None else temperature,
            max_new_tokens=max_tokens or sampling.max_new_tokens,
        )
        talk = Chat(_models(ctx, None, version), version, sampling, seed)
        at_terminal = sys.stdin.isatty()
        if at_terminal:
            console.print(f"{talk.models.find(version).name} answers. {HELP}", style="dim", highlight=False)
        fine = converse(talk, lambda: input("> " if at_terminal else ""), _show, _complain)
    if not fine and not at_terminal:
        raise typer.Exit(1)  # a script learns of it


def export_version(
    version: str,
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    merged: Annotated[bool, typer.Option("--merged", help="Whole weights instead of the adapter.")] = False,
    base_name: Annotated[str | None, typer.Option(help="The base's hub id, where ours is a local folder.")] = None,
    push_to: Annotated[str | None, typer.Option(help="OWNER/NAME: also upload to that private repository.")] = None,
) -> None:
    """Take a version away: safetensors, tokenizer and model card, for transformers, peft and vLLM."""
    from .export_version import export, push, token_for

    if push_to:
        token_for(push_to)
    with opened() as ctx:
        with reading(ctx.engine) as session:
            row = versions.by_name(session, version)
        made = export(ctx, row, out, merged, base_name)
    console.print(f"{version} is in {made}", highlight=False, soft_wrap=True)
    if push_to:
        console.print(f"and at {push(made, push_to)}", highlight=False, soft_wrap=True)


def card(version: str, as_json: JsonFlag = False) -> None:
    """The model card of a version: data, training, measurements, promotion, limits."""
    from .model_card import facts, render

    with opened(quiet=True) as ctx:
        with reading(ctx.engine) as session:
            row = versions.by_name(session, version)
        known = facts(ctx, row)
    if as_json:
        print_json(known)
    else:
        _show(render(known))


def _models(ctx: Context, only: str | None, first: str) -> ServedModels:
    """The models, the `first` in memory: what cannot be served is said at once."""
    from .promote import ensure_current
    from .served_models import ServedModels

    ensure_current(ctx)
    models = ServedModels(ctx, only)
    models.choose(models.find(first))
    return models


def _key(name: str) -> str | None:
    """The key in that environment variable; None where no variable is named."""
    if not name:
        return None
    if not os.environ.get(name):
        raise PrefloopError(f"--api-key-env {name}: that environment variable is not set; put the key into it")
    return os.environ[name]


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _complain(text: str) -> None:
    Console(stderr=True).print(f"[red]{escape(text)}[/red]", highlight=False, soft_wrap=True)
