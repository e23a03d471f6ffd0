import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.scores.ensemble import Ballot, Vote, fallback, majority_weights, probability_weights, vote


def ballot(answer, correct=None, logprob=-1.0, tokens=10):
    return Ballot(answer, answer == "1" if correct is None and answer else correct, logprob, tokens, f"= {answer}")


def test_majority_and_ties():
    assert vote([ballot("2"), ballot("1"), ballot("1")], [1, 1, 1]) == Vote("1", True, 3, 30)
    assert vote([ballot("2"), ballot("1")], [1, 1]) == Vote("2", False, 2, 20)  # the first voter's
    assert vote([ballot(None), ballot(None)], [1, 1]) == Vote(None, None, 2, 20)
    assert vote([ballot(None), ballot("1")], [9, 1]).answer == "1"  # unread answers do not vote
    assert vote([], []) == Vote(None, None, 0, 0)
    assert majority_weights([ballot("1")] * 3) == [1, 1, 1]


def test_a_tie_is_a_tie_whatever_the_rounding():
    weights = [0.1, 0.2, 0.3]  # 0.1 + 0.2 != 0.3 in binary
    assert vote([ballot("1"), ballot("1"), ballot("2")], weights).answer == "1"
    assert vote([ballot("2"), ballot("1"), ballot("1")], weights[::-1]).answer == "2"


def test_probability_weights_are_per_token():
    short, long = ballot("1", logprob=-2.0, tokens=2), ballot("2", logprob=-4.0, tokens=40)
    assert probability_weights([short, long]) == pytest.approx([math.exp(-1), math.exp(-0.1)])
    assert vote([short, long], probability_weights([short, long])).answer == "2"


def test_early_stop_by_hand():
    voters = [ballot("1"), ballot("1"), ballot("2"), ballot("2"), ballot("2")]
    assert vote(voters, [1] * 5, early_stop=True) == Vote("2", False, 5, 50)
    assert vote(voters, [3, 3, 1, 1, 1], early_stop=True) == Vote("1", True, 2, 20)
    assert vote(voters, [3, 1, 1, 1, 1], early_stop=True).decodes == 2  # four against at most three
    assert vote([ballot(None)] * 2, [1, 1], early_stop=True).decodes == 2


ballots = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", None]), st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.9444])),
    max_size=8,
)


@given(ballots)
def test_stopping_early_never_changes_the_winner(drawn):
    voters, weights = [ballot(answer) for answer, _ in drawn], [weight for _, weight in drawn]
    full, early = vote(voters, weights), vote(voters, weights, early_stop=True)
    assert (early.answer, early.correct) == (full.answer, full.correct)
    assert early.decodes <= full.decodes


def test_fallback(make_question):
    asked = [make_question("q"), make_question("r"), make_question("s")]
    voters = [[ballot("2"), ballot(None), ballot("1")], [ballot("1"), ballot("2")], []]
    seen: list[list[str]] = []

    def check(answer):
        def passes(items):
            seen.append([f"{question.id} {text}" for question, text in items])
            return [text in answer for _, text in items]

        return passes

    nobody = Vote(None, None, 0, 0)
    assert fallback(asked, voters, check(["= 1"])) == [Vote("1", True, 3, 30), Vote("1", True, 1, 10), nobody]
    assert seen == [["q = 2", "r = 1"], ["q = 1"]]  # together, and only what is still open and could be read
    assert fallback(asked, voters, check(["= 1", "= 2"]))[0] == Vote("2", False, 1, 10)
    # the first's answer, all paid
    assert fallback(asked, voters, check([])) == [Vote("2", False, 3, 30), Vote("1", True, 2, 20), nobody]
    assert fallback([], [], check([])) == []
