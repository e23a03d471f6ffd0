from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.errors import InputError
from qrdistill.base.records import Question
from qrdistill.verdicts.checks.contamination import Evaluation, contaminated, refuse_contaminated, words
from qrdistill.verdicts.config import FilterConfig

LONG = (
    "A farmer in the valley keeps 12 sheep and 7 goats on two meadows, sells 5 sheep at the market on Monday, "
    "and buys 3 goats from his neighbour. How many animals does he have in the end?"
)
CONFIG = FilterConfig(answer=False)


@pytest.fixture
def pair(make_question):
    def pair(train: str, test: str, split: str = "test"):
        return [make_question("train-1", question=train), make_question("test-1", question=test, split=split)]

    return pair


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize(
    "train",
    [
        LONG,
        LONG.upper().replace(",", " ,"),
        "Consider the following problem. " + LONG + " Explain.",
        LONG.replace("in the end?", "now?"),  # most of it
    ],
)
def test_a_test_question_in_training_is_refused_by_name(pair, train, split) -> None:
    with pytest.raises(InputError, match=r"train-1 contains test-1 \(\d+% of its 13-word") as caught:
        refuse_contaminated(pair(train, LONG, split), CONFIG)
    assert "filter.contaminated: drop" in str(caught.value)


@pytest.mark.parametrize(
    "train",
    [
        LONG.replace("12", "14").replace("7", "9").replace("5", "6").replace("3", "4"),  # same template
        "A farmer in the valley keeps 12 sheep and 7 goats on two meadows. How old is he?",  # a shared opening
        "What is 3 + 4?",
    ],
)
def test_a_filled_template_is_another_question(pair, train) -> None:
    assert contaminated(pair(train, LONG), CONFIG) == {}


def test_short_questions_count_when_they_are_the_whole_text(pair) -> None:
    assert contaminated(pair("what is 3 + 4", "What is 3 + 4?"), CONFIG) == {"train-1": ("test-1", 1.0)}
    assert contaminated(pair("What is 3 - 4?", "What is 3 + 4?"), CONFIG) == {}
    assert contaminated(pair("What is 3 + 4 and what is 5?", "What is 3 + 4?"), CONFIG) == {}


def test_languages_without_spaces_are_compared_by_character() -> None:
    assert words("三个苹果 ab") == ["三", "个", "苹", "果", "ab"]


def test_phrases_of_a_data_set_give_nothing_away(make_question) -> None:
    asked = (
        "Your task is to count how many legs there are in total when given a list of animals. Now, how many legs "
        "are there in total if you have {}?"
    )
    herds = ["3 cats", "4 dogs and 3 cats", "5 ants", "6 cows", "7 hens and 2 owls"]
    questions = [make_question(f"test-{n}", question=asked.format(h), split="test") for n, h in enumerate(herds)]
    other = make_question("train-1", question=asked.format("3 cats, 4 goats, 5 frogs, 6 bees and 7 apes"))
    assert contaminated([*questions, other], CONFIG) == {}
    same = make_question("train-2", question="Please: " + asked.format(herds[4]))
    assert contaminated([*questions, same], CONFIG) == {"train-2": ("test-4", 1.0)}


def test_other_names_in_the_same_problem_are_no_excuse(pair) -> None:
    train = LONG.replace("A farmer", "Our uncle")
    assert contaminated(pair(train, LONG), CONFIG)["train-1"][1] > 0.9


def test_offenders_beyond_five_are_counted(make_question) -> None:
    questions = [make_question("test-1", question=LONG, split="test")]
    questions += [make_question(f"train-{i}", question=LONG) for i in range(8)]
    with pytest.raises(InputError, match=r"^8 train questions .*; and 3 more"):
        refuse_contaminated(questions, CONFIG)


def test_nothing_is_compared_where_it_is_switched_off(pair) -> None:
    refuse_contaminated(pair(LONG, LONG), FilterConfig(contamination=None))


def test_dropping_instead_leaves_an_account(pair, make_path, run_filter) -> None:
    config = FilterConfig(answer=False, contaminated="drop")
    counts, verdicts = run_filter(pair(LONG, LONG), [make_path()], config)
    assert counts.by_check["contamination"].dropped == 1
    assert verdicts[-1].reason == "contamination: its question is also asked as test-1"


def test_a_path_that_recites_a_test_question_is_dropped(pair, make_path, run_filter) -> None:
    paths = [make_path("3 + 4 = 7."), make_path(f"This reminds me of: {LONG} Now, 3 + 4 = 7.", sample=1)]
    counts, verdicts = run_filter(pair("What is 3 + 4?", LONG), paths, CONFIG)
    assert counts.kept == 1
    assert verdicts[-1].reason == "contamination: recites test-1"


def test_the_filter_itself_refuses(pair, make_path, run_filter) -> None:
    with pytest.raises(InputError, match="train-1 contains test-1"):
        run_filter(pair(LONG, LONG), [make_path()], CONFIG)


@given(st.lists(st.sampled_from("abcd"), max_size=14), st.integers(1, 4))
def test_the_quick_look_at_pairs_misses_nothing(tokens, n) -> None:
    facts = {"split": "test", "task": "t", "family": "f", "kind": "number", "gold": "7"}
    asked = [Question(id="q", question="a b c d a a b b c c d d", **facts)]
    index = Evaluation(asked, n)
    quick = index.contained_in(" ".join(tokens))
    grams = {tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)}
    shared = grams & index._questions.keys()
    share = len(shared) / index._sizes["q"]
    assert (quick is not None) == (share >= 0.8) or tuple(tokens) in index._whole
