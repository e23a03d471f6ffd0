"""What is tried first, being quick, must never decide otherwise than the patterns that it stands before."""

from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.answers import check, statements
from qrdistill.base.thoughts import TAGS, part
from qrdistill.paths import duplicates
from qrdistill.verdicts.checks import contamination

PIECES = [
    "The answer is 5",
    "answer:",
    "final result is",
    "best option is",
    "FINAL ANSWER\n",
    "wrong answer is",
    "to answer",
]
PIECES += [
    "\n2) ",
    "1.",
    "1)",
    "####  7",
    "\\boxed{7}",
    "\\fbox 7",
    "'Answer': 7",
    '"final_answer": "7"',
    "<Answer>",
    "</s>",
    "\x1c",
    "\u0130",
    "é_1",
    "一二",
    " ",
    "\n",
    ".",
    "x",
    "3.5",
    *sum(TAGS, ()),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@settings(max_examples=40)
@given(TEXTS)
def test_quick_forms_find_what_the_patterns_find(text):
    spans = [match.span() for match in statements._markers(text)]
    assert spans == [match.span() for match in statements._MARKER.finditer(text)]
    assert contamination.words(text) == contamination._WORD.findall(text.lower())
    words = duplicates._WORDS.findall(text.lower())
    assert duplicates.word_grams(text) == (
        {" ".join(words[at : at + 3]) for at in range(len(words) - 2)} if len(words) > 3 else {" ".join(words)}
    )
    signs = {statements._BOXED: ("\\boxed", "\\fbox"), statements._TAG: "<", statements._JSON: "\"'"}
    for pattern, own in signs.items():
        assert any(sign in text for sign in own) or not pattern.search(text)
    assert check._ends_in_a_list_number(text) == (check._LIST_NUMBER.search(text) is not None)
    tagged = any(tag in text for pair in TAGS for tag in pair)
    assert tagged or part(text) == ("", text, True)
