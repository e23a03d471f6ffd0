"""Whatever stands in a config or behind --set: a Config, or one short ConfigError; never a traceback or a hang."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.base.errors import ConfigError
from qrdistill.base.untrusted.yaml_file import dump_yaml, parse_yaml
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import dump_config, load_config

CONFIG = """\
name: two-students
seed: 3
questions: {task: jsonl, train_file: a.jsonl, test_file: b.csv, kind: number, options: {a: [1, 2.5]}}
teachers:
  - {name: g, kind: openai, model: m, base_url: "https://x.org/v1", api_key_env: MY_KEY, temperature: 0.8,
     extra_body: {top_k: 4}, price: {input: 1.25, output: 10}}
  - {name: r, kind: replay, file: paths.parquet, styles: [vanilla]}
paths:
  styles: [vanilla, {name: own_style, instruction: Think., hint: "Think:"}]
  budget_usd: 20
filter: {judges: [g, {kind: lab, error_rate: 0.1}], votes: 3, keep: all}
router: {temperature: [1.5, 0.5], styles: {vanilla: a}}
students:
  - &one {name: a, model: org/a, lora: {rank: 8, targets: [q_proj]}, learning_rate: 2.0e-4}
  - {<<: *one, name: b}
train: {steps: 20, track: []}
evaluate: {styles: best_on_dev}
"""
SPECIAL = [
    "\x00",
    "\x07",
    "\x1b[31m",
    "\ufeff",
    "\u2028",
    "😀",
    "²",
    "٣",
    "1e999",
    ".inf",
    "-.nan",
    "2026-02-30",
    "0000-00-00",
    "12:99:99",
    "!!python/object:os.system\n!!binary",
    "!!int",
    "!x",
    "!",
    "*one",
    "&one",
    "*nobody",
    "<<",
    "?",
    "|",
    ">",
    "-",
    "--",
    "---",
    "...",
    "%YAML",
    "{}",
    "[]",
    "{a:",
    "[",
    "]}",
    '"\\ud800"',
    '"\\UFFFFFFFF"',
    '"\\x00"',
    "~",
    "null",
    "yes\ntrue",
    "0x10",
    "0o17",
    "017",
    "1_000",
    "99999999999999999999999999",
    "-0",
    ".5",
    "1.",
    "1e5",
    "''",
    '""',
    "'",
    '"',
    "#",
    "@",
    "`",
    ",",
    ":",
    "\t",
]
SPECIAL += ["9" * 5000, "[" * 500, "{a: " * 500, "x" * 5000, "2001-12-14t21:59:43.10-05:00", " ", "\n", "\r", "\\"]
KEYS = [
    "name",
    "seed",
    "students.a.lora",
    "students.0.lora.rank",
    "teachers.g.extra_body.x.y",
    "train.steps",
    "train",
    "paths.styles.0",
    "questions.options",
    "filter.judges.1.error_rate",
    "router.temperature.0",
    "encoder.kind",
    "train.device",
    "nobody",
]


def mutated(lots: random.Random) -> bytes:
    """A valid config with one or two things done to it."""
    raw = CONFIG.encode()
    for _ in range(lots.randint(1, 2)):
        place = lots.randrange(len(raw))
        words = sorted({0, *(index for index, byte in enumerate(raw) if byte in b" ,:{}[]\n"), len(raw)})
        number = lots.randrange(len(words) - 1) if len(words) > 1 else 0
        start, end = (words[number] + 1, words[number + 1]) if len(words) > 1 else (0, len(raw))
        special = lots.choice(SPECIAL).encode("utf-8", "surrogatepass")
        match lots.randrange(7):
            case 0:
                raw = raw[:place] + bytes([lots.randrange(256)]) + raw[place + 1 :]
            case 1:
                raw = raw[:place] + raw[place + lots.randint(1, 40) :] or b"a: 1"
            case 2 | 3 | 4:  # a value of another type, a key of another name
                raw = raw[:start] + b" " + special + raw[end:]
            case 5:
                raw = raw[:place] + special + raw[place:]
            case _:
                lines = raw.splitlines(keepends=True)
                line = lots.choice(lines)
                raw = b"".join([*lines, line]) if lots.random() < 0.5 else b"".join(one for one in lines if one != line)
                raw = raw or b"a: 1"
    return raw


def settles(source: Path | dict[str, object], overrides: tuple[str, ...] = (), *, written: bool = True) -> bool:
    """Whether a config was read; what was read and `written` is read back the same."""
    said = ConfigError("nothing")
    config = None
    try:
        config = load_config(source, overrides)
    except ConfigError as error:
        said = error
    assert (said.exit_code, 0 < len(str(said)) < 500) == (2, True)
    assert all(letter.isprintable() or letter == "\n" for letter in str(said)), str(said)
    if written and config is not None:
        again, _ = parse_yaml(dump_config(config))
        assert Config.model_validate(again) == config
    return config is not None


def test_a_mutated_file(tmp_path: Path) -> None:
    lots = random.Random(0)
    file = tmp_path / "config.yaml"
    read = 0
    for number in range(500):
        file.write_bytes(mutated(lots))
        read += settles(file, written=number % 8 == 0)
    assert 0 < read < 500


def test_any_override() -> None:
    lots = random.Random(0)
    given = {"questions": {}, "teachers": [{"name": "g", "kind": "openai", "model": "m"}]}
    read = 0
    for number in range(400):
        key, value = lots.choice(KEYS), lots.choice(SPECIAL)
        if lots.random() < 0.3:
            key = key[: lots.randrange(len(key))] + lots.choice(SPECIAL) + key[lots.randrange(len(key)) :]
        if lots.random() < 0.3:
            value = lots.choice("[{'\"&*!") + value + lots.choice(SPECIAL)
        read += settles(given, (key + lots.choice(["=", "=", "=", "", "=="]) + value,), written=number % 8 == 0)
    assert read


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(SPECIAL)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
SECTIONS = {
    name: st.dictionaries(
        st.sampled_from([*getattr(field.default, "__class__", Config).model_fields, "kind"])
        if isinstance(field.default, Config.__mro__[1])
        else st.sampled_from(["name", "kind", "model", "lora", "file"]),
        VALUES,
        max_size=3,
    )
    for name, field in Config.model_fields.items()
}


@given(
    st.fixed_dictionaries(
        {}, optional={name: VALUES | section | st.lists(section, max_size=2) for name, section in SECTIONS.items()}
    )
)
@settings(max_examples=80)
def test_any_structure(data: dict[str, object]) -> None:
    settles(data)


@given(VALUES)
@settings(max_examples=120)
def test_what_is_dumped_is_read_back(value: object) -> None:
    try:
        again, _ = parse_yaml(dump_yaml(value))
    except ConfigError:
        return  # control characters, infinities, huge numbers
    assert again == value
