from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qrdistill.answers import check as answers
from qrdistill.base.errors import ConfigError
from qrdistill.base.records import Question
from qrdistill.lab.config import LabTeacher
from qrdistill.lab.render import OPENINGS
from qrdistill.lab.teacher import SPURIOUS, WEAK, WEAK_WRONG, WRONG, LabTeacherImplementation
from qrdistill.lab.templates import SMALL
from qrdistill.paths.styles import STYLES, Style
from qrdistill.paths.teachers import Draft

Written = list[tuple[Question, str, Draft]]
Ask = Callable[..., Written]


def share(written: Written, label: str, *, style: str | None = None, family: str | None = None) -> float:
    chosen = [
        draft.truth[0]
        for question, name, draft in written
        if draft.truth and style in (None, name) and family in (None, question.family)
    ]
    return sum(one == label for one in chosen) / len(chosen)


def test_it_knows_the_six_styles() -> None:
    assert set(WRONG) == set(SPURIOUS) == set(OPENINGS) == set(STYLES)
    assert len(set(OPENINGS.values())) == 6


def test_planted_rates_are_in_the_stated_bounds() -> None:
    assert all(0.10 <= rate <= 0.22 for rate in WRONG.values())
    assert all(0.08 <= rate <= 0.25 for rate in SPURIOUS.values())


@pytest.mark.parametrize("style", OPENINGS)
def test_measured_rates_are_the_planted_ones(even: Written, style: str) -> None:
    # 1000 paths per style: a standard deviation is at most 1.4 points
    assert share(even, "wrong", style=style) == pytest.approx(WRONG[style], abs=0.045)
    assert share(even, "spurious", style=style) == pytest.approx(SPURIOUS[style], abs=0.045)


def test_uneven_is_bad_in_twelve_of_thirty_cells(ask: Ask) -> None:
    assert sum(len(set(weak) & set(SMALL)) for weak in WEAK.values()) == 12
    assert {sum(family in weak for weak in WEAK.values()) for family in SMALL} == {2, 3}
    written = ask(1000, scenario="uneven")
    for style, weak in WEAK.items():
        for family in SMALL:
            expected = WEAK_WRONG if family in weak else WRONG[style]
            # 200 paths per cell: a standard deviation is at most 3.3 points
            assert share(written, "wrong", style=style, family=family) == pytest.approx(expected, abs=0.12)


def test_the_label_says_whether_the_answer_is_right(even: Written) -> None:
    for question, _, draft in even[:2000]:
        assert draft.truth is not None
        checked = answers.check(question, draft.text)
        assert checked.outcome == ("wrong" if draft.truth[0] == "wrong" else "correct"), draft


def test_each_path_opens_with_its_styles_word_and_ends_with_the_answer(even: Written) -> None:
    for _, style, draft in even:
        assert draft.text.startswith(OPENINGS[style])
        assert draft.text.splitlines()[-1].startswith("The answer is ")


def test_a_program_prints_the_right_value_unless_something_was_planted(
    even: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    for question, style, draft in even[:1200]:
        if style == "program" and draft.truth == ("sound", ""):
            exec(draft.text.split("```python\n")[1].split("```")[0], {})
            assert capsys.readouterr().out.strip() == question.gold


def test_nothing_of_the_truth_shows_outside_the_truth(even: Written) -> None:
    for question, style, draft in even:
        assert draft.truth is not None
        # the one sound rendering of a question is the same text whatever was planted elsewhere
        assert not any(word in draft.text for word in ("sound", "spurious", "wrong", "slip", "planted"))
        assert not any(word in question.question for word in ("even", "spurious", "wrong"))
        assert draft.finish_reason == "stop", style


def test_same_seed_same_paths_and_other_seeds_and_samples_differ(ask: Ask) -> None:
    assert ask(50) == ask(50)
    assert [d.text for _, _, d in ask(50)] != [d.text for _, _, d in ask(50, seed=1)]
    assert [d.text for _, _, d in ask(50)] != [d.text for _, _, d in ask(50, name="other")]


def test_paths_do_not_depend_on_the_order_of_asking(even: Written) -> None:
    questions = list({q.id: q for q, _, _ in even}.values())[:20]
    teacher = LabTeacherImplementation(LabTeacher(), base_dir=Path(), seed=0, questions=questions)
    wanted = {(q.id, style): draft for q, style, draft in even}
    for question in reversed(questions):
        for style in reversed(STYLES.values()):
            assert teacher.path(question, style, 0) == wanted[question.id, style.name]


def test_coverage_is_a_share_of_the_questions_all_styles_together(ask: Ask) -> None:
    written = ask(300, coverage=0.3)
    covered = {question.id for question, _, _ in written}
    assert len(written) == 6 * len(covered)
    assert 0.25 < len(covered) / 300 < 0.35
    assert covered <= {question.id for question, _, _ in ask(300, coverage=0.6)}
    assert ask(10, coverage=0.0) == []


def test_strength_sets_a_familys_share_of_wrong_answers(ask: Ask) -> None:
    written = ask(300, strength={"chain": 0.0, "trip": 1.0, "legs": 0.5})
    assert share(written, "wrong", family="chain") == 0
    assert share(written, "wrong", family="trip") == 1
    assert share(written, "wrong", family="legs") == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(("strength", "words"), [({"maths": 0.1}, "chain, shop"), ({"chain": 2}, "0 to 1")])
def test_a_strength_that_cannot_be_is_refused(ask: Ask, strength: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(1, strength=strength)


def test_foreign_questions_and_styles_are_refused(even: Written) -> None:
    question = even[0][0]
    foreign = question.model_copy(update={"task": "gsm8k", "metadata": {}})
    with pytest.raises(ConfigError, match="gsm8k"):
        LabTeacherImplementation(LabTeacher(), base_dir=Path(), seed=0, questions=[foreign])
    teacher = LabTeacherImplementation(LabTeacher(), base_dir=Path(), seed=0, questions=[question])
    with pytest.raises(ConfigError, match="haiku"):
        teacher.path(question, Style("haiku", "Write a haiku.", "Haiku.", ""), 0)


def test_one_that_thinks_answers_in_its_last_line(even: Written) -> None:
    for question, style, draft in even[:60]:
        teacher = LabTeacherImplementation(LabTeacher(thinks=True), base_dir=Path(), seed=0, questions=[])
        thinking = teacher.path(question, STYLES[style], 0)
        assert thinking is not None
        assert (thinking.thought, thinking.text) == (draft.text, draft.text.splitlines()[-1])
        assert answers.extract(question, thinking.text).answer == answers.extract(question, draft.text).answer
