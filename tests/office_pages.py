"""The manager pages for tests without a browser: opened as somebody, read, and pressed."""

from pathlib import Path

from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db import annotators, judgments, queues
from db.engine import reading
from labeling_ui import manage

PAGES = ("queues", "progress", "quality", "prompts", "data", "people")  # those on versions: test_ui_manage_versions.py


def page(name: str, who: str = "ada", **query: str) -> AppTest:
    opened = AppTest.from_file(str(Path(manage.__file__).parent / f"manage_{name}.py"), default_timeout=30)
    for key, value in {"annotator": who, **query}.items():
        opened.query_params[key] = value
    return sound(opened.run())


def sound(opened: AppTest) -> AppTest:
    assert not opened.exception, opened.exception[0].message
    return opened


def html(opened: AppTest) -> str:
    return "\n".join(element.value for element in opened.html if not element.value.startswith("<style>"))


def everything(opened: AppTest) -> str:
    return html(opened) + "\n".join(element.value for element in [*opened.text, *opened.header, *opened.title])


def press(opened: AppTest, label: str) -> AppTest:
    (button,) = [button for button in opened.button if button.label == label]
    return sound(button.click().run())


def person(engine: Engine, name: str) -> int:
    with reading(engine) as session:
        return annotators.by_name(session, name).id


def queue(engine: Engine, name: str) -> int:
    with reading(engine) as session:
        return queues.by_name(session, name).id


def pair_judgment(engine: Engine) -> int:
    """One of the newest: the oldest pairs are gold already."""
    with reading(engine) as session:
        return next(
            row.judgment_id for row in reversed(judgments.current(session, "human")) if row.queue_kind == "pair"
        )
