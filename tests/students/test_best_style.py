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
from qrdistill.students.best_style import StyleTrial, choose_style, dev_sample, style_change, trial, try_styles


def question(name: str, split: Any = "dev") -> Question:
    return Question(id=name, split=split, task="t", family="f", kind="number", question=f"What is {name}?", gold="3")


def tried(right: int, nll: float) -> StyleTrial:
    """Of nine questions."""
    return StyleTrial("1" * right + "0" * (9 - right), nll)


def test_the_example() -> None:
    assert doctest.testmod(best_style).attempted >= 2
    assert doctest.testmod(best_style).failed == 0


def test_most_right_answers_win_whatever_the_loss() -> None:
    choice = choose_style("ada", {"x": tried(4, 0.1), "y": tried(5, 9.0)})
    assert (choice.style, choice.tied, choice.warning()) == ("y", ("y",), None)


def test_equals_are_told_apart_by_their_loss_and_said() -> None:
    choice = choose_style("ada", {"x": tried(5, 0.2), "y": tried(5, 0.1), "z": tried(4, 0.0)})
    assert choice.style == "y"
    assert "ada: x, y are equally good on 9 dev questions (5 right), so y is chosen" in (choice.warning() or "")


def test_where_nothing_is_right_the_loss_decides_and_it_is_said() -> None:
    choice = choose_style("ada", {"backward": tried(0, 0.2), "facts": tried(0, 0.1)})
    assert choice.style == "facts"
    assert "no style gives a right answer on 9 dev questions" in (choice.warning() or "")


def trials(**outcomes: str) -> dict[str, StyleTrial]:
    return {style: StyleTrial(marks, 0.5) for style, marks in outcomes.items()}


def test_five_right_for_three_of_twenty_is_no_reason_to_change() -> None:
    """The real case that cost a student 19 points of 23."""
    dev = trials(chain="1" * 3 + "0" * 17, tens="0" * 2 + "1" * 5 + "0" * 13)
    change = style_change("ada", "chain", "tens", dev)
    assert (change.style, change.only_before, change.only_best, change.p) == ("chain", 2, 4, 0.6875)
    assert change.sentence() == (
        "ada stays with chain: tens has 5 of 20 dev questions right for 3, 4 only there for 2 only here, which may be "
        "chance (p = 0.69, not below 0.05); raise questions.dev for a choice that says more"
    )


@pytest.mark.parametrize(("ahead", "behind", "changes"), [(5, 0, False), (6, 0, True), (7, 1, False), (8, 1, True)])
def test_a_change_is_beyond_chance_over_the_same_questions(ahead: int, behind: int, changes: bool) -> None:
    dev = trials(
        x="1" * 9 + "0" * ahead + "1" * behind + "0" * 5,
        y="1" * 9 + "1" * ahead + "0" * behind + "0" * 5,
    )
    change = style_change("ada", "x", "y", dev)
    assert (change.style == "y", change.p < 0.05) == (changes, changes)
    assert ("ada changes from x to y" in change.sentence()) is changes
    assert style_change("ada", "y", "x", dev).style == "y"  # a style that is shown to be worse is no reason either


def test_the_best_of_several_other_styles_needs_more() -> None:
    dev = trials(x="0" * 20, y="1" * 6 + "0" * 14, z="0" * 20)
    assert style_change("ada", "x", "y", dev).p == 2 * 0.03125
    assert style_change("ada", "x", "y", dev).style == "x"
    assert style_change("ada", "x", "y", dev | trials(y="1" * 7 + "0" * 13)).style == "y"


def test_what_a_student_had_is_held_without_a_word_where_dev_prefers_nothing() -> None:
    dev = trials(x="1100", y="0011", z="0001")
    choice = choose_style("ada", dev, "y")  # as many right as x
    assert (choice.style, choice.change, choice.warning()) == ("y", None, None)
    choice = choose_style("ada", dev, "z")
    assert choice.style == "z"
    assert "ada stays with z: x has 2 of 4 dev questions right for 1" in (choice.warning() or "")
    for nothing in (None, "gone"):
        choice = choose_style("ada", dev, nothing)
        assert (choice.style, choice.change) == ("x", None)
        assert "x, y are equally good on 4 dev questions" in (choice.warning() or "")


def test_the_loss_is_per_character_over_all_answers() -> None:
    found = trial([(True, -3.0, "abcdef"), (False, -1.0, "ab"), (False, 0.0, "")])
    assert (found.outcomes, found.right, found.n, found.nll) == ("100", 1, 3, 0.5)
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
    answers = list(read_table(tmp_path / "answers.parquet", Answer))
    scored = style_choices(answers, {row.id: row for row in asked})["ada"]
    assert (scored.style, scored.tied) == (choice.style, choice.tied)
    (other,) = {"vanilla", "program"} - {choice.style}
    assert style_choices(answers, {row.id: row for row in asked}, {"ada": other})["ada"].style == other
    for name, own in choice.trials.items():
        assert (scored.trials[name].right, scored.trials[name].n) == (own.right, own.n)
        assert scored.trials[name].nll == pytest.approx(own.nll, rel=1e-5)
