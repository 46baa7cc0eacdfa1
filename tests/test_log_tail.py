"""The end of a log as it comes into the store: readable, and without what nobody may read."""

from pathlib import Path

import pytest

from pipeline.log_tail import clean, tail


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[1;31mError\x1b[0m: no", "Error: no"),
        ("a \x1b]8;;http://x\x07link\x1b]8;;\x07", "a link"),
        ("bar  10%\rbar  90%\rbar 100%\nnext\r\n", "bar 100%\nnext\n"),
        ("bell\x07 tab\t nul\x00 c1\x9b31m", "bell tab\t nul c131m"),
    ],
)
def test_what_a_terminal_would_act_on_is_gone(written: str, shown: str) -> None:
    assert clean(written) == shown


def test_the_tail_begins_with_a_whole_line_so_that_no_half_secret_is_left(tmp_path: Path) -> None:
    log = tmp_path / "01-dpo.log"
    assert tail(log) == ""
    log.write_text("key=sk-abcdefgh\nlast line, ä\n")
    assert tail(log) == "key=sk-abcdefgh\nlast line, ä\n"
    for size in range(1, len(log.read_bytes())):
        assert "bcd" not in tail(log, size)
    assert tail(log, size=16) == "last line, ä\n"
