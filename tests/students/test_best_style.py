"""One choice of a style: the same wherever it is made, said where it is a tie."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.records import Answer, Question
from qrdistill.paths.styles import STYLES
from qrdistill.scores.student_style import style_choices
from qrdistill.students import best_style
from qrdistill.students.best_style import StyleTrial, choose_style, dev_sample, trial, try_styles


def question(name: str, split: Any = "dev") -> Question:
    return Question(id=name, split=split, task="t", family="f", kind="number", question=f"What is {name}?", gold="3")


def test_the_example() -> None:
    assert doctest.testmod(best_style).attempted >= 2
    assert doctest.testmod(best_style).failed == 0


def test_most_right_answers_win_whatever_the_loss() -> None:
    choice = choose_style("ada", {"x": StyleTrial(4, 9, 0.1), "y": StyleTrial(5, 9, 9.0)})
    assert (choice.style, choice.tied, choice.warning()) == ("y", ("y",), None)


def test_equals_are_told_apart_by_their_loss_and_said() -> None:
    choice = choose_style("ada", {"x": StyleTrial(5, 9, 0.2), "y": StyleTrial(5, 9, 0.1), "z": StyleTrial(4, 9, 0.0)})
    assert choice.style == "y"
    assert "ada: x, y are equally good on 9 dev questions (5 right), so y is chosen" in (choice.warning() or "")


def test_where_nothing_is_right_the_loss_decides_and_it_is_said() -> None:
    choice = choose_style("ada", {"backward": StyleTrial(0, 9, 0.2), "facts": StyleTrial(0, 9, 0.1)})
    assert choice.style == "facts"
    assert "no style gives a right answer on 9 dev questions" in (choice.warning() or "")


def test_the_loss_is_per_character_over_all_answers() -> None:
    found = trial([(True, -3.0, "abcdef"), (False, -1.0, "ab"), (False, 0.0, "")])
    assert (found.right, found.n, found.nll) == (1, 3, 0.5)
    assert trial([(False, -2.0, "")]).nll == 2.0  # nothing was written: no division by zero


def test_the_sample_is_dev_only_bounded_and_whatever_the_order() -> None:
    asked = [question(f"q{n}") for n in range(150)] + [question("t", "train"), question("u", "test")]
    chosen = dev_sample(asked)
    assert len(chosen) == 100
    assert {row.split for row in chosen} == {"dev"}
    assert {row.id for row in chosen} == {row.id for row in dev_sample(asked[::-1])}
    assert [row.id for row in dev_sample(asked[:7])] == [f"q{n}" for n in range(7)]


def test_training_and_scores_judge_alike(tiny_student_folder: Any, tmp_path: Path) -> None:
    """From a loaded student, and from the answers that evaluation wrote down: the same trials, the same choice."""
    from qrdistill.base.store import TableWriter, read_table
    from qrdistill.scores.config import EvaluateConfig
    from qrdistill.scores.evaluate import evaluate
    from qrdistill.students.config import StudentConfig
    from qrdistill.students.engines.local import LocalWriter
    from qrdistill.students.loading import load_student

    config = StudentConfig(name="ada", model=str(tiny_student_folder("mistral")))
    asked, styles = [question(f"q{n}") for n in range(3)], {name: STYLES[name] for name in ("vanilla", "program")}
    student = load_student(config, base_dir=Path("."), device="cpu")
    choice = choose_style("ada", try_styles(LocalWriter(student), asked, styles, max_tokens=6))
    settings = EvaluateConfig(split="dev", max_tokens=6, free=False)
    with TableWriter(tmp_path / "answers.parquet", Answer) as out:
        evaluate({"ada": config}, asked, settings, styles=styles, out=out, base_dir=Path("."), seed=0, device="cpu")
    scored = style_choices(read_table(tmp_path / "answers.parquet", Answer), {row.id: row for row in asked})["ada"]
    assert (scored.style, scored.tied) == (choice.style, choice.tied)
    for name, own in choice.trials.items():
        assert (scored.trials[name].right, scored.trials[name].n) == (own.right, own.n)
        assert scored.trials[name].nll == pytest.approx(own.nll, rel=1e-5)
