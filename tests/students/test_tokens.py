"""Labels are exactly the response, whatever the tokenizer; every label knows its characters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.base.errors import ModelError
from qrdistill.base.thoughts import part, taught
from qrdistill.students.tokens import Codec, Encoded, Unencodable, weight

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<turn>{{ m['role'] }}\n{{ m['content'] }}<turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
KINDS: dict[str, dict[str, Any]] = {
    "byte_level": {},
    "prefix_space": {},
    "metaspace": {},
    "left_padding": {"padding_side": "left"},
    "chat": {"template": TEMPLATE, "extra_special_tokens": ["<turn>"]},
    "metaspace_chat": {"template": TEMPLATE, "extra_special_tokens": ["<turn>"]},
}
BASES = {"left_padding": "metaspace", "chat": "byte_level", "metaspace_chat": "metaspace"}


@pytest.fixture(scope="session")
def codecs(request: pytest.FixtureRequest) -> dict[str, Codec]:
    """Through files, as users' tokenizers come."""
    make = request.getfixturevalue("tiny_student_folder")
    from transformers import AutoTokenizer

    found: dict[str, Codec] = {}
    for kind, options in KINDS.items():
        options = dict(options)
        template = options.pop("template", None)
        folder: Path = make(
            "llama", tokenizer=BASES.get(kind, kind), chat_template=template, tokenizer_settings=options
        )
        found[kind] = Codec(AutoTokenizer.from_pretrained(folder), name=kind)
    return found


def check(codec: Codec, prompt: str, response: str) -> Encoded:
    path = codec.encode(prompt, response)
    labels = path.response_ids
    assert labels[-1] == codec.end_id
    assert codec.decode(labels[:-1]) == response
    assert path.exact
    assert path.prompt_ids == codec.prompt_ids(prompt)
    assert path.num_targets == len(labels)
    assert path.num_tokens == len(path.prompt_ids) + len(labels) - 1
    assert len(path.spans) == len(labels) - 1
    position = 0
    for start, end in path.spans:
        assert 0 <= start <= end <= len(response)
        assert start >= position or response[start:position].strip() == response[start:position][:1].strip()
        position = max(position, start)
    covered = {at for start, end in path.spans for at in range(start, end)}
    assert all(at in covered or response[at].isspace() for at in range(len(response)))
    return path


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "response",
    [
        "3 + 4 = 7.\nThe answer is 7.",
        " leading space",
        "  two",
        "\nnewline first",
        "trailing space ",
        "x",
        "naïve 𝛼 → ∞",
        "a  b   c",
        "</s> is how a model stops",
        "print(1)\n\n\tindented",
    ],
)
def test_labels_decode_to_exactly_the_response(codecs: dict[str, Codec], kind: str, response: str) -> None:
    check(codecs[kind], "Ann has 3 apples.\nThink step by step.\n", response)


@pytest.mark.parametrize("kind", list(KINDS))
@settings(max_examples=60, deadline=None)
@given(
    prompt=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=30),
    response=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=40),
)
def test_any_text_is_learnt_as_it_is(codecs: dict[str, Codec], kind: str, prompt: str, response: str) -> None:
    if "▁" in response or response.startswith(("<s>", "</s>", "<pad>", "<unk>", "<turn>")):
        return  # U+2581 is what metaspace tokenizers write for a space: no id sequence stands for it
    path = check(codecs[kind], prompt + "\n", response)
    assert codecs[kind].encode_all([(prompt + "\n", response)]) == [path]
    most = weight(prompt + "\n") + weight(response) + (codecs[kind].most_around or 0)
    assert path.num_tokens <= most


@pytest.mark.parametrize("kind", ["byte_level", "metaspace", "chat"])
def test_spans_name_the_characters_of_each_token(codecs: dict[str, Codec], kind: str) -> None:
    response = "3 + 4 = 7, so Ann has 7 apples."
    path = check(codecs[kind], "How many?\n", response)
    for token, (start, end) in zip(path.response_ids, path.spans, strict=False):
        assert codecs[kind].decode([token]).strip() == response[start:end].strip()


def test_a_chat_template_closes_responses_its_own_way(codecs: dict[str, Codec]) -> None:
    codec = codecs["chat"]
    assert codec.has_template
    assert codec.end_id == codec.tokenizer.convert_tokens_to_ids("<turn>")
    assert codec.stop_ids == {codec.end_id, codec.tokenizer.eos_token_id}
    text = codec.tokenizer.decode(list(codec.prompt_ids("Hi\n")))
    assert text == "<s><turn>user\nHi<turn>\n<turn>assistant\n"


def test_the_context_is_never_cut_silently(codecs: dict[str, Codec]) -> None:
    codec = Codec(codecs["byte_level"].tokenizer, name="short", max_context=12)
    codec.encode("A\n", "B")
    with pytest.raises(Unencodable, match="its context holds 12") as caught:
        codec.encode("A\n", "3 + 4 = 7, so the answer is seven and more")
    assert caught.value.reason == "too_long"
    assert caught.value.num_tokens > 12


@pytest.mark.parametrize("kind", list(KINDS))
def test_many_paths_are_encoded_as_each_is(codecs: dict[str, Codec], kind: str) -> None:
    responses = ["3 + 4 = 7.", " leading", "</s> is text", "<turn>", "a  b", "naïve 𝛼 → ∞", "x" * 50]
    pairs = [(f"{prompt}\n", response) for prompt in ("How many?", "Why </s>?", " ") for response in responses]
    expected = [codecs[kind].encode(*pair) for pair in pairs]
    codecs[kind].tokenizer.backend_tokenizer.enable_truncation(2)  # what another call may have left
    assert codecs[kind].encode_all(pairs) == expected
    with pytest.raises(Unencodable, match="maps the path to no tokens"):
        codecs[kind].encode_all([("How many?\n", "x"), ("How many?\n", "")])


def test_nothing_bounds_the_tokens_of_a_text_that_is_lengthened(codecs: dict[str, Codec]) -> None:
    from tokenizers import Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    def around(normalizer: Any, template: str | None = None) -> int | None:
        letters = Tokenizer(models.BPE({"a": 0, "</s>": 1}, []))
        letters.normalizer = normalizer
        return Codec(
            PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="</s>", chat_template=template), name="letters"
        ).most_around

    assert around(None) == around(normalizers.NFKC()) == around(normalizers.Prepend("x"))
    assert around(normalizers.Replace("a", "bcd")) is None
    twice = "{% for m in messages %}{{ m['content'] }}{{ m['content'] }}</s>{% endfor %}"
    assert (around(None, twice), around(None, twice.replace("}}{{ m['content']", ""))) == (None, 20)


def test_a_path_without_tokens_is_refused(codecs: dict[str, Codec]) -> None:
    with pytest.raises(Unencodable, match="maps the path to no tokens") as caught:
        codecs["byte_level"].encode("A\n", "")
    assert caught.value.reason == "no_targets"


def test_a_tokenizer_that_loses_text_says_so(codecs: dict[str, Codec]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2, "</s>": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
    codec = Codec(tokenizer, name="words")
    assert codec.encode("b ", "a b").exact
    assert not codec.encode("b ", "a c").exact


def test_a_tokenizer_without_an_end_is_refused(tiny_student_folder: Callable[..., Path]) -> None:
    from transformers import AutoTokenizer

    folder = tiny_student_folder("llama", tokenizer_settings={"eos_token": None})
    with pytest.raises(ModelError, match=r"no end-of-sequence token.*set eos_token"):
        Codec(AutoTokenizer.from_pretrained(folder), name="endless")


def test_a_template_that_refuses_is_named(codecs: dict[str, Codec]) -> None:
    tokenizer = codecs["chat"].tokenizer
    kept = tokenizer.chat_template
    tokenizer.chat_template = "{{ raise_exception('only systems may speak') }}"
    try:
        with pytest.raises(ModelError, match=r"student strict: its chat template.*only systems may speak"):
            Codec(tokenizer, name="strict").encode("A\n", "B")
    finally:
        tokenizer.chat_template = kept


@pytest.mark.parametrize("kind", ["chat", "metaspace_chat"])
def test_a_message_ends_as_a_user_would_send_it(codecs: dict[str, Codec], kind: str) -> None:
    codec = codecs[kind]
    message = [{"role": "user", "content": "What is 3 + 4?\nThink step by step."}]
    sent: Any = codec.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
    assert codec.prompt_ids("What is 3 + 4?\nThink step by step.\n") == tuple(sent["input_ids"])


def test_without_a_template_a_newline_parts_prompt_and_answer(codecs: dict[str, Codec]) -> None:
    assert codecs["byte_level"].prompt_text("What is 3 + 4?\n") == "What is 3 + 4?\n"


THINKS = {"byte_level": ("<think>\n", "</think>"), "metaspace": ("[THINK]", "[/THINK]")}  # the second as special tokens


@pytest.fixture(scope="session")
def thinkers(request: pytest.FixtureRequest) -> dict[str, Codec]:
    """Students whose chat template opens a thought for them."""
    make = request.getfixturevalue("tiny_student_folder")
    from transformers import AutoTokenizer

    found: dict[str, Codec] = {}
    for kind, (opening, closing) in THINKS.items():
        template = TEMPLATE.replace("assistant\n{% endif", f"assistant\n{opening}{{% endif")
        special = ["<turn>", *([opening, closing] if kind == "metaspace" else [])]
        folder: Path = make(
            "llama", tokenizer=kind, chat_template=template, tokenizer_settings={"extra_special_tokens": special}
        )
        found[kind] = Codec(AutoTokenizer.from_pretrained(folder), name=kind)
    return found


@pytest.mark.parametrize("kind", list(THINKS))
@pytest.mark.parametrize("thought", ["", "3 and 4\nmake 7"])
def test_a_thought_that_the_template_opened_is_closed_before_the_answer(
    thinkers: dict[str, Codec], kind: str, thought: str
) -> None:
    codec, opening = thinkers[kind], THINKS[kind][0]
    answer = "3 + 4 = 7.\nThe answer is 7."
    lesson = taught(thought, answer) if thought else answer
    path = codec.encode("3 + 4?", lesson)
    assert codec.decode(path.prompt_ids).endswith(opening)
    written = codec.decode(path.response_ids[:-1])
    assert part(opening + written) == (thought, answer, True)
    assert path.exact
    assert codec.completion(path.response_ids[:-1]) == (opening + written if thought else answer)
    taken = "".join(lesson[start:end] for start, end in dict.fromkeys(path.spans))
    assert taken.replace(" ", "") == (thought + answer).replace(" ", ""), "each label knows its characters"


def test_a_thought_that_never_ends_is_no_answer(thinkers: dict[str, Codec]) -> None:
    codec = thinkers["byte_level"]
    ids = codec.encode("3 + 4?", taught("the answer is 8", "7")).response_ids[:4]
    assert part(codec.completion(ids)).answer == ""
