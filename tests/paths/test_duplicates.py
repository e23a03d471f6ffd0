"""Near duplicates within one question."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.base.records import ReasoningPath
from qrdistill.paths.duplicates import near_duplicates, word_grams


def path(name: str, text: str, question: str = "q") -> ReasoningPath:
    return ReasoningPath(id=name, question_id=question, teacher="t", style="s", prompt_hash="", text=text, answer=None)


STEPS = "Ann has 3 apples. She buys 4 more apples at the market. 3 + 4 = 7. The answer is 7."


def test_the_first_is_kept_and_every_repeat_names_it():
    paths = [
        path("a", STEPS),
        path("b", "First we count what Ann had, then what she bought: seven in all. The answer is 7."),
        path("c", STEPS.replace(" at the", " in the")),
        path("d", STEPS.lower()),
        path("e", STEPS, question="other"),
    ]
    assert near_duplicates(paths, 0.6) == {"c": "a", "d": "a"}
    assert near_duplicates(paths, 1.0) == {"d": "a"}


def test_hand_computed_similarity_decides_at_the_threshold():
    # "a b c d" and "a b c e" have two 3-grams each and share one of three: 1/3
    paths = [path("a", "a b c d"), path("b", "a b c e")]
    assert near_duplicates(paths, 1 / 3) == {"b": "a"}
    assert near_duplicates(paths, 0.34) == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(alphabet="ab c.", max_size=12), max_size=8),
    st.sampled_from([0.2, 0.5, 0.9, 1.0]),
)
def test_kept_paths_are_unlike_and_repeats_are_like_what_they_name(texts: list[str], threshold: float):
    paths = {str(number): path(str(number), text) for number, text in enumerate(texts)}
    repeats = near_duplicates(paths.values(), threshold)

    def similarity(one: str, two: str) -> float:
        first, second = word_grams(paths[one].text), word_grams(paths[two].text)
        return len(first & second) / len(first | second)

    kept = [name for name in paths if name not in repeats]
    assert all(similarity(a, b) < threshold for a in kept for b in kept if a < b)
    for name, earlier in repeats.items():
        assert earlier in kept
        assert int(earlier) < int(name)
        assert similarity(name, earlier) >= threshold or similarity(name, earlier) == pytest.approx(threshold)
