"""A reply's thought and its answer, in every form that models write them."""

from __future__ import annotations

import pytest

from qrdistill.base.thoughts import TAGS, Parted, opened, part, taught


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
