"""The smaller YAML that configs are written in: what is read as what, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrdistill.base.errors import ConfigError
from qrdistill.base.untrusted.yaml_file import MAX_BYTES, dump_yaml, parse_yaml, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-02-30", "2026-02-30"),
        ("2026-01-01", "2026-01-01"),
        ("12:30:45", "12:30:45"),
        ("017", "017"),
        ("0x10", "0x10"),
        ("1_000", 1000),
        ("2e-4", 2e-4),
        ("5.", 5.0),
        ("yes", True),
        ("~", None),
        ("", None),
        ("{1: a, yes: b, null: c}", {"1": "a", "yes": "b", "null": "c"}),
        ("[&x {a: [1]}, *x, {<<: *x, b: 2}, {a: 0, <<: [*x]}]", [{"a": [1]}, {"a": [1]}, {"a": [1], "b": 2}, {"a": 0}]),
        ("'2e-4'", "2e-4"),
    ],
)
def test_what_is_read_as_what(text: str, value: object) -> None:
    read, _ = parse_yaml(text)
    assert (read, type(read)) == (value, type(value))
    assert parse_yaml(dump_yaml(value))[0] == value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' stands in line 1 already"),
        ("a: 1\nb: {c: 1,\n  c: 2}\n", 3, "the key 'c' stands in line 2"),
        ("a:\n  - !!python/object/apply:os.system [ls]\n", 2, "tags such as tag:yaml.org,2002:python"),
        ("a: !!int 3\n", 1, "tags such as"),
        ("a: ! x\n", 1, "tags such as"),
        ("a: 1\nb: &b [*b]\n", 2, r"\*b stands inside what it names"),
        (BOMB, 5, "more than 20,000 values, aliases expanded"),
        ("a: " + "[" * 2000, 1, "nested more than 32 deep"),
        ("a: " + "{a: " * 2000, 1, "nested more than 32 deep"),
        ("a: 1\nb: .inf\n", 2, "no finite number"),
        ("a: 1\nb: 1e999\n", 2, "no finite number"),
        ("a: 1\nb: -.NaN\n", 2, "no finite number"),
        ("a: 1\nb: " + "9" * 5000, 2, "a number of 5000 digits"),
        ("a: 1\nb: 9223372036854775808", 2, "a number of 19 digits"),
        ('a: 1\nb: "\\ud800"', 2, r"the character '\\ud800' cannot stand"),
        ('a: 1\nb: "\\0"', 2, r"the character '\\x00' cannot stand"),
        ('a: 1\nb: "\\UFFFFFFFF"', 2, "not valid YAML"),
        ("a: 1\nb\x00: 2", 2, r"the character '\\x00' cannot stand"),
        ("? [a, b]\n: c\n", 1, "a key has to be a plain text"),
        ("a: 1\n--- \nb: 2\n", 2, "single document"),
        ("a: *nobody\n", 1, "undefined alias"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: 1", 1, "not valid YAML"),
        ("<<: 3\n", 1, "<< takes a mapping"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_yaml(tmp_path / "c.yaml")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{tmp_path / 'c.yaml'}:{line}: ")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("name: x".encode("utf-16"), ":1: this is UTF-16 text; save the file as UTF-8"),
        ("name: ä".encode("latin-1"), ":1: not a UTF-8 text file"),
        (b"a: 1\nb: \xff", ":2: not a UTF-8 text file"),
        (b"\x00\x00", ":1: the character"),
        (b"a: " + b"x" * MAX_BYTES, ": larger than 256 KiB"),
        (b"a: " + "ä".encode() * MAX_BYTES, ": larger than 256 KiB"),
        (b"", ":1: a config is a mapping of sections"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, raw: bytes, words: str) -> None:
    (tmp_path / "c.yaml").write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "c.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'c.yaml'}{words}")


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfname: x")
    assert read_yaml(tmp_path / "c.yaml") == ({"name": "x"}, {("name",): 1})


def test_names_that_no_file_system_has() -> None:
    for name in ("a\0b", "x" * 5000, "/"):
        with pytest.raises(ConfigError, match="cannot read this config"):
            read_yaml(Path(name))


def test_merged_keys_have_the_line_that_they_were_written_in() -> None:
    _, lines = parse_yaml("a: &a\n  x: 1\nb:\n  <<: *a\n  y: 2\n")
    assert (lines["b", "x"], lines["b", "y"]) == (2, 5)
