"""Two students, two styles, four test questions, all counted by hand."""

import pytest

from qrdistill.base.records import FREE
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.score import score
from qrdistill.scores.scores_file import Scores
from qrdistill.scores.statistics import wilson


@pytest.fixture
def questions(make_question):
    dev = [make_question(f"d{n}", split="dev") for n in range(4)]
    test = [make_question(f"q{n}", family="sums" if n < 2 else "trips") for n in range(4)]
    return {question.id: question for question in dev + test}


@pytest.fixture
def answers(make_answer):
    """Dev: anna facts 4/4, anna steps 3/4, ben facts 1/4, ben steps 3/4. Test: below, gold is 1."""
    said = {
        ("anna", "facts"): "1 1 2 3",
        ("anna", "steps"): "1 2 2 1",
        ("anna", FREE): "1 2 2 -",
        ("ben", "steps"): "2 1 1 3",
        ("ben", FREE): "- - - -",
    }
    right_on_dev = {("anna", "facts"): 4, ("anna", "steps"): 3, ("ben", "facts"): 1, ("ben", "steps"): 3}
    rows = []
    for student in ("anna", "ben"):
        for style in ("facts", "steps"):
            for n in range(4):
                right = n < right_on_dev[student, style]
                rows.append(make_answer(student, f"d{n}", style, "1" if right else "9", split="dev"))
    for (student, style), line in said.items():
        for n, value in enumerate(line.split()):
            rows.append(make_answer(student, f"q{n}", style, None if value == "-" else value))
    return rows


def find(scores, student, style, family="all", split="test"):
    (one,) = [s for s in scores.scores if (s.student, s.style, s.family, s.split) == (student, style, family, split)]
    return one


def test_scores_by_hand(answers, questions, plain):
    found = Scores.model_validate(plain(score(answers, questions, EvaluateConfig())))
    assert found.best_style == {"anna": "facts", "ben": "steps"}
    facts = find(found, "anna", "facts")
    assert (facts.n, facts.correct, facts.undecided, facts.accuracy) == (4, 2, 0, 0.5)
    assert (facts.low, facts.high) == pytest.approx(wilson(2, 4)[1:3])
    assert find(found, "anna", "facts", "sums").correct == 2
    assert find(found, "anna", "facts", "trips").correct == 0
    free = find(found, "anna", FREE)
    assert (free.n, free.correct, free.undecided) == (4, 1, 1)  # undecided stays in n, and is stated
    assert find(found, "ben", FREE).undecided == 4
    assert [head.styled.correct for head in found.headlines] == [2, 2]
    assert [line.partition(":")[0] for line in found.warnings] == ["anna", "ben"]
    assert "no readable answer: 4 of 4 in style free (100%)" in found.warnings[1]


def ensembles(found):
    return {one.name: one for one in found.ensembles}


def test_votes_by_hand(answers, questions):
    found = ensembles(Scores.model_validate(score(answers, questions, EvaluateConfig())))
    # best styles, anna/facts 1 1 2 3 before ben/steps 2 1 1 3: anna wins each tie
    tops = found["majority, students"]
    assert (tops.members, tops.correct, tops.decodes, tops.tokens) == (
        ["anna/facts", "ben/steps"],
        2,
        2.0,
        20.0,
    )
    # with anna/steps 1 2 2 1: q0 1,1,2 -> 1; q1 1,2,1 -> 1; q2 2,2,1 -> 2; q3 3,1,3 -> 3
    pairs = found["majority, pairs"]
    assert pairs.members == ["anna/facts", "anna/steps", "ben/steps"]
    assert (pairs.correct, pairs.undecided, pairs.accuracy) == (2, 0, 0.5)
    # anna/facts weighs log-odds of 0.95, the others' together 2 log 3 = 2.2: less than 2.94
    weighted = found["weighted by dev, pairs"]
    assert weighted.weights == pytest.approx([2.9444, 1.0986, 1.0986], abs=1e-3)
    assert weighted.correct == 2
    early = found["weighted by dev, pairs, early stop"]
    assert (early.correct, early.decodes) == (2, 1.0)  # anna/facts alone settles it
    assert pairs.against_single.second == "anna/facts"
    assert (pairs.against_single.difference, pairs.against_single.p) == (0.0, 1.0)
    assert pairs.against_equal_cost is None  # nothing was sampled
    # free: anna 1 2 2 -, ben nothing
    assert (found["majority, free"].correct, found["majority, free"].undecided) == (1, 1)


def test_sampled_answers_give_self_consistency_pass_at_k_and_equal_cost(answers, questions, make_answer):
    # anna/facts sampled twice: right on q0 q1 | q0 q2
    for sample, right in ((1, {"q0", "q1"}), (2, {"q0", "q2"})):
        for n in range(4):
            said = "1" if f"q{n}" in right else f"{7 + sample}"
            answers.append(make_answer("anna", f"q{n}", "facts", said, sample=sample))
    found = Scores.model_validate(score(answers, questions, EvaluateConfig(samples=2)))
    assert [(p.k, p.value, p.n) for p in found.pass_at_k] == [(1, 0.5, 4), (2, 0.75, 4)]
    by_name = ensembles(found)
    # ties go to the first sample: q0 right, q1 right, q2 wrong, q3 wrong
    assert by_name["self-consistency of anna/facts, 2 samples"].correct == 2
    tops = by_name["majority, students"]
    assert tops.equal_cost_decodes == 2.0
    assert tops.against_equal_cost.second == "self-consistency of anna/facts, 2 samples"
    assert by_name["majority, pairs"].against_equal_cost is None  # three decodes, two sampled
    assert find(found, "anna", "facts").n == 4  # sampled answers are not in the greedy accuracy


def test_the_base_is_beside_never_inside(answers, questions, make_answer):
    for n in range(4):
        answers.append(make_answer("anna@base", f"d{n}", "steps", "1", split="dev"))
        answers.append(make_answer("anna@base", f"q{n}", "steps", "1" if n == 3 else "9"))
    found = Scores.model_validate(score(answers, questions, EvaluateConfig()))
    heads = {head.student: head for head in found.headlines}
    assert heads["anna@base"].base
    assert heads["anna@base"].styled_gain is None
    gain = heads["anna"].styled_gain
    assert (gain.first, gain.second, gain.difference) == ("anna/facts", "anna@base/steps", 0.25)
    assert (gain.only_first, gain.only_second) == (2, 1)
    assert all("@base" not in member for one in found.ensembles for member in one.members)


def test_renaming_students_renames_results(answers, questions):
    config = EvaluateConfig()
    names = {"anna": "x", "ben": "y"}
    renamed = [row.model_copy(update={"student": names[row.student]}) for row in answers]
    text = Scores.model_validate(score(answers, questions, config)).model_dump_json()
    for old, new in names.items():
        text = text.replace(old, new)
    assert Scores.model_validate_json(text) == Scores.model_validate(score(renamed, questions, config))


def test_permuting_students_permutes_results(answers, questions):
    def by_student(rows):
        found = Scores.model_validate(score(rows, questions, EvaluateConfig()))
        return {head.student: head for head in found.headlines}, {
            (s.student, s.style, s.split, s.family): s for s in found.scores
        }

    turned = [row for row in answers if row.student == "ben"] + [row for row in answers if row.student == "anna"]
    assert by_student(answers) == by_student(turned)


def test_free_use_counts_styles(questions, make_answer):
    texts = {"q0": "Facts: 1", "q1": "Program: 1", "q2": "so two and two is four .", "q3": "well"}
    rows = [make_answer("anna", "d0", style, split="dev") for style in ("facts", "steps", "program")]
    rows += [make_answer("anna", question, FREE, text=text) for question, text in texts.items()]
    rows += [make_answer("anna", "q2", "steps", text="so two and two is four")]
    rows += [make_answer("anna", "q2", "facts", text="facts come first here")]
    # by the opening word (a style decoded on dev only as well), by likeness, not at all
    use = score(rows, questions, EvaluateConfig())["free_use"]
    assert use == {"anna": {"facts": 1, "program": 1, "steps": 1, "unknown": 1}}


def test_an_unscored_run_is_empty_not_broken(questions, plain):
    found = plain(score([], questions, EvaluateConfig()))
    assert found["scores"] == []
    assert found["ensembles"] == []


def test_a_judge_adds_the_fallback(answers, questions):
    def check(items):
        return ["is 1." in text for _, text in items]  # a judge that always knows

    found = ensembles(Scores.model_validate(score(answers, questions, EvaluateConfig(), check=check)))
    # anna/facts 1 1 2 3, anna/steps 1 2 2 1, ben/steps 2 1 1 3: asked 1, 1, 3, 2 times
    fallback = found["judge fallback"]
    assert (fallback.correct, fallback.decodes, fallback.tokens) == (4, 7 / 4, 10 * 7 / 4)
    assert fallback.against_single.difference == 0.5


def test_weak_students_still_vote(answers, questions):
    weak = [row.model_copy(update={"correct": False, "answer": "9"}) if row.split == "dev" else row for row in answers]
    found = ensembles(Scores.model_validate(score(weak, questions, EvaluateConfig())))
    assert "majority, pairs" not in found  # nobody is above vote_above
    one = found["weighted by dev, students"]
    assert one.weights[0] == one.weights[1] > 0


def test_answers_that_ask_on_are_counted(questions, make_answer) -> None:
    rows = [make_answer("a", f"q{i}", FREE, text="It is 5." + "\nQuestion: And 6?" * (i < 3)) for i in range(4)]
    assert score(rows, questions, EvaluateConfig())["rambled"] == {"a": 0.75}
