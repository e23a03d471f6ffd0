"""Which paths fit is known without making a label; what was counted once is read the next time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.records import Question, ReasoningPath
from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import FEW_CHARACTERS, Codec, Packed, Unencodable
from qrdistill.training.data import Material

QUESTIONS = {
    f"q{n}": Question(
        id=f"q{n}",
        question=f"Ann has {n} apples. How many?",
        gold=str(n),
        split="train",
        task="t",
        family="f",
        kind="number",
    )
    for n in range(5)
}
TEXTS = [
    "",
    "7",
    "  ",
    "7 apples",
    "so </s> is text",
    "x " * 40 + "7",
    "y" * 90,
    "é" * 30,
    "3 + 4 = 7, so the answer is 7. " * 4,
    *("2 legs, " * count for count in range(1, 40)),
]
PATHS = [
    ReasoningPath(id=f"p{n}", question_id=f"q{n % 5}", teacher="t", style=style, prompt_hash="", text=text, answer="7")
    for n, text in enumerate(TEXTS)
    for style in ("vanilla", "program")
]
TEMPLATE = "{% for m in messages %}<turn>{{ m['content'] }}</s>{% endfor %}"


@pytest.fixture
def student(tiny_student_folder: Callable[..., Path], request: pytest.FixtureRequest) -> Student:
    tokenizer, template, limit = request.param
    folder = tiny_student_folder("mistral", tokenizer=tokenizer, chat_template=template)
    return load_student(StudentConfig(name="ada", model=str(folder), max_context=limit), base_dir=Path(), device="cpu")


KINDS = [
    (tokenizer, template, limit)
    for tokenizer in ("byte_level", "prefix_space", "metaspace")
    for template in (None, TEMPLATE)
    for limit in (None, 70, 120)
]


def _one_by_one(student: Student) -> tuple[list[int], Counter[str]]:
    """The rows that `encode` takes: the definition."""
    kept, out = list[int](), Counter[str]()
    for row, path in enumerate(PATHS):
        if not path.text.strip():
            out["empty"] += 1
            continue
        try:
            student.encode(student_prompt(QUESTIONS[path.question_id].question, STYLES[path.style]), path.text)
            kept.append(row)
        except Unencodable as reason:
            out[f"ada: {reason.reason}"] += 1
    return kept, out


@pytest.mark.parametrize("student", KINDS, indirect=True)
def test_counting_keeps_what_encoding_each_path_keeps(student: Student, tmp_path: Path) -> None:
    expected = _one_by_one(student)
    assert student.codec.max_context == 256 or expected[1]["ada: too_long"] > 3
    for _ in range(2):  # counted, then read from the file
        material = Material(QUESTIONS, PATHS, [student], STYLES, counts=tmp_path)
        assert (material.rows.tolist(), material.kept_out) == expected


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Texts that a tokenizer was given to count and to encode."""
    calls = Counter[str]()

    def watch(name: str, number: Callable[[Any], int]) -> None:
        real = getattr(Codec, name)

        def watched(self: Codec, *given: Any) -> Any:
            calls[name] += number(given)
            return real(self, *given)

        monkeypatch.setattr(Codec, name, watched)

    watch("count", lambda given: len(given[0]))
    watch("encode", lambda given: 1)
    return calls


@pytest.mark.parametrize("student", [("metaspace", None, 120)], indirect=True)
def test_a_second_start_counts_only_what_is_new(student: Student, tmp_path: Path, read: Counter[str]) -> None:
    Material(QUESTIONS, PATHS[:80], [student], STYLES, counts=tmp_path)
    assert 50 < read.pop("count") < 80  # the others are too short to be in doubt
    Material(QUESTIONS, PATHS[:80], [student], STYLES, counts=tmp_path)
    assert read["count"] == 0
    Material(QUESTIONS, PATHS, [student], STYLES, counts=tmp_path)
    assert read["count"] == len(PATHS) - 80


@pytest.mark.parametrize("student", [("byte_level", TEMPLATE, None), ("metaspace", None, None)], indirect=True)
def test_what_surely_fits_is_not_tokenized(student: Student, tmp_path: Path, read: Counter[str]) -> None:
    student.codec.max_context = 1000
    short = sum(bool(path.text.strip()) and len(path.text) < FEW_CHARACTERS for path in PATHS)
    odd = sum(not path.text.isascii() for path in PATHS)
    assert len(Material(QUESTIONS, PATHS, [student], STYLES, counts=tmp_path).rows) == len(PATHS) - 4  # blank ones
    assert (read["count"], read["encode"]) == (odd + short, short)


@pytest.mark.parametrize("student", [("byte_level", None, 120)], indirect=True)
@pytest.mark.parametrize("damage", ["cut", "changed", "nothing"])
def test_a_damaged_file_is_made_anew(student: Student, tmp_path: Path, damage: str) -> None:
    expected = Material(QUESTIONS, PATHS, [student], STYLES, counts=tmp_path).rows.tolist()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    file.write_bytes({"cut": whole[:middle], "changed": changed, "nothing": b""}[damage])
    assert Material(QUESTIONS, PATHS, [student], STYLES, counts=tmp_path).rows.tolist() == expected
    assert file.read_bytes() == whole


@pytest.mark.parametrize("student", [KINDS[0], KINDS[-1]], indirect=True)
def test_packing_loses_nothing(student: Student) -> None:
    for text in ("7 apples", "é 🙂 ok", "so </s> is text"):
        encoded = student.encode("How many?", text)
        assert Packed.of(encoded).unpacked() == encoded
