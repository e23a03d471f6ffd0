"""A reply's thought and its answer, in every form that models write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrdistill.base.thoughts import TAGS, Parted, begun, opened, part, taught


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_every_pair_of_tags_is_read_whole_swallowed_or_never_closed(opening: str, closing: str):
    whole = Parted("3 + 4", "It is 7.")
    assert part(f"{opening}\n3 + 4\n{closing}\n\nIt is 7.") == whole
    assert part(f"3 + 4\n{closing}\nIt is 7.") == whole, "the template had opened it"
    assert part(f" {opening}3 + ") == Parted("3 +", "", ended=False)
    assert part(f"{opening}3 + 4{closing}") == Parted("3 + 4", "")
    assert part(f"{opening}{closing}It is 7.") == Parted("", "It is 7.")
    assert opened(f"user: 3 + 4?\nassistant: {opening}\n") == (f"{opening}\n", closing)


@pytest.mark.parametrize(
    "text",
    ["It is 7.", " It is 7.\n", "", "The tag `</think>` closes it.", "It <think>is</think> 7.", "a < b [think] c"],
)
def test_a_text_without_a_thought_stays_as_it_came(text: str):
    assert part(text) == Parted("", text)


def test_a_field_and_tags_are_one_thought_and_the_same_thought_counts_once():
    assert part("<think>b</think>c", "a") == Parted("a\n\nb", "c")
    assert part("<think>a</think>c", "a\n") == Parted("a", "c")
    assert part("</think>\n\nc", "a") == Parted("a", "c")
    assert part("<think>a</think>\n<think>b</think>c") == Parted("a\n\nb", "c")


def test_what_is_taught_can_be_parted_again():
    assert part(taught("3 + 4", "It is 7.")) == Parted("3 + 4", "It is 7.")
    assert opened("user: what does <think> mean?\nassistant:") is None


@given(st.text(alphabet="ab \n<>/think[]THINK`◁▷|", max_size=60), st.text(max_size=60))
def test_any_text_is_parted_without_loss_of_an_answer(text: str, thought: str):
    parts = part(text, thought)
    assert parts.answer in text
    assert parts.ended or not parts.answer
    if not parts.thought and parts.ended and not _tagged(text):
        assert parts.answer == text
    assert part(parts.answer, parts.thought).answer in parts.answer


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["<think>\n", "<think>", "[THINK]"]))
def test_what_goes_on_after_an_opened_thought_keeps_every_character_in_its_place(
    thought: str, answer: str, opening: str
):
    lesson = taught(thought, answer) if thought.strip() else answer
    closing = dict(TAGS)[opening.strip()]
    text, kept = whole = begun(lesson, opening, closing)
    for start, end, place in kept:
        assert text[start:end] == lesson[place : place + end - start]
    for at in range(len(text)):
        first, last = whole.span(at, at + 1)
        assert 0 <= first <= last <= len(lesson)
        assert last == first or text[at] == lesson[first]


def _tagged(text: str) -> bool:
    return any(tag in text for pair in TAGS for tag in pair)
