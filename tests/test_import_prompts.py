"""Prompts from files."""

from pathlib import Path

import pytest

from db.errors import StoreError
from db.prompts import split_of
from pipeline.errors import PrefloopError
from pipeline.import_prompts import builtin, read


def test_the_built_in_prompts_are_many_varied_and_unique() -> None:
    found = builtin()
    assert found.bad == []
    assert {item.source for item in found.items} == {"prefloop"}
    assert len(found.items) >= 160
    assert len({item.category for item in found.items}) >= 8
    texts = {tuple((m["role"], m["content"].casefold()) for m in item.messages) for item in found.items}
    assert len(texts) == len(found.items)


def test_txt_takes_a_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("first\n\n  second  \n")
    assert [item.messages for item in read(file).items] == [
        [{"role": "user", "content": "first"}],
        [{"role": "user", "content": "second"}],
    ]


def test_csv_takes_quoted_prompts_over_several_lines_and_categories(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text('category,prompt\nhow,"line one\nline two"\nwhy,\nwhat,last\n', encoding="utf-8-sig")
    found = read(file)
    assert [(item.category, item.messages[0]["content"]) for item in found.items] == [
        ("how", "line one\nline two"),
        ("what", "last"),
    ]
    assert [bad.number for bad in found.bad] == [4]


def test_csv_without_the_column_says_which_columns_it_has(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("question\nwhy\n")
    with pytest.raises(StoreError, match="column named prompt.*question"):
        read(file)
    file.write_text('"prompt"s\nwhy\n')
    with pytest.raises(StoreError, match="first line of the csv"):
        read(file)


def test_jsonl_takes_plain_prompts_and_chats_and_names_bad_lines(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    lines = [
        '{"prompt": "plain", "category": "c"}',
        "not json",
        '{"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]}',
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}',
        '{"messages": [{"role": "robot", "content": "hi"}]}',
        '{"prompt": "   "}',
        "[1, 2]",
        '{"other": 1}',
        '{"prompt": ' + "9" * 5_000 + "}",
        "[" * 100_000,
    ]
    file.write_text("\n".join(lines))
    found = read(file)
    assert [len(item.messages) for item in found.items] == [1, 2]
    assert [bad.number for bad in found.bad] == [2, 4, 5, 6, 7, 8, 9, 10]
    assert "ends in a turn of the assistant" in str(found.bad[1])


def test_unknown_suffix_missing_file_and_wrong_encoding_are_plain_errors(tmp_path: Path) -> None:
    (tmp_path / "p.xlsx").touch()
    with pytest.raises(StoreError, match=r"\.txt, \.csv, \.jsonl"):
        read(tmp_path / "p.xlsx")
    with pytest.raises(PrefloopError, match="there is no file"):
        read(tmp_path / "p.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(StoreError, match="not UTF-8"):
        read(tmp_path / "latin.txt")


def test_about_a_quarter_is_held_out_by_content() -> None:
    from db.hashing import canonical_json, sha256_text

    splits = [split_of(sha256_text(canonical_json(item.messages)), 0.25) for item in builtin().items]
    assert 0.18 < splits.count("heldout") / len(splits) < 0.32
