"""Templates that loop, grow or raise, each against the kernel's limits."""

import pytest
import torch  # noqa: F401 - its threads and mappings are there when a student's template is tried
from transformers import PreTrainedTokenizerFast

from qrdistill.base.chat_template import render
from qrdistill.base.errors import ModelError
from qrdistill.students.tokens import Codec

LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
HOSTILE = [
    (LOOP, "does not come to an end"),
    ("{{ ('a' * 100000) * 100000 }}", "takes more than 256 MiB of memory"),
    ("{% set x = namespace(l='ab') %}{% for i in range(60) %}{% set x.l = x.l + x.l %}{% endfor %}", "takes more than"),
    ("{{ 'a' * 200000 }}", "writes more than 65536 characters"),
]
GOOD = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
)


def tokenizer(template):
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1, "</s>": 2}, unk_token="<unk>"))
    found = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
    found.chat_template = template
    return found


@pytest.mark.parametrize(("template", "reason"), HOSTILE)
def test_a_hostile_template_is_one_message_that_names_the_student(template, reason):
    with pytest.raises(ModelError, match=f"student ada: its chat template {reason}.*mend or remove chat_template"):
        Codec(tokenizer(template), name="ada")


def test_a_hostile_template_is_one_message_that_names_the_teacher():
    from qrdistill.llm.config import TransformersTeacher
    from qrdistill.llm.reply_cache import ChatRequest
    from qrdistill.llm.transformers_client import TransformersChat

    chat = TransformersChat(TransformersTeacher(name="eve", kind="transformers", model="m"))
    template, reason = HOSTILE[-1]
    chat._tokenizer = tokenizer(template)
    request = ChatRequest(host="h", model="m", messages=(("user", "a"),), temperature=0, top_p=1, max_tokens=1)
    with pytest.raises(ModelError, match=f"teacher 'eve': its chat template {reason}"):
        chat.prompt(request)


def test_a_template_that_turns_hostile_on_other_messages_is_caught_where_it_writes_too_much():
    told = tokenizer("{{ messages[0]['content'] }}{% if messages[0]['content'] == 'b' %}{{ 'x' * 90000 }}{% endif %}")
    assert render(told, [{"role": "user", "content": "a"}], who="student ada") == "a"
    with pytest.raises(ModelError, match="writes more than"):
        render(told, [{"role": "user", "content": "b"}], who="student ada")


def test_ordinary_templates_and_their_own_errors_are_what_transformers_makes_of_them():
    message = {"role": "user", "content": "word " * 50_000}  # long messages are no fault
    text = render(tokenizer(GOOD), [message], who="student ada", add_generation_prompt=True)
    assert text == f"<user>{message['content']}<a>"
    codec = Codec(tokenizer("{{ raise_exception('no system role') }}"), name="ada")
    assert codec.end_id == 2  # how it closes an answer cannot be asked: the end of sequence is the safe end
    with pytest.raises(ModelError, match=r"student ada: its chat template refuses .*no system role"):
        codec.prompt_ids("a")


GEMMA = (
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def with_turns(template, *, special=True):
    from tokenizers import AddedToken

    found = tokenizer(template)
    found.add_tokens([AddedToken(name, special=special) for name in ("<end", "<start_of_turn>", "<end_of_turn>")])
    return found


@pytest.mark.parametrize("special", [True, False])
def test_the_end_of_a_turn_is_found_among_all_added_tokens(special):
    codec = Codec(with_turns(GEMMA, special=special), name="ada")
    end = codec.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert codec.end_id == end  # not <end, which it begins with, nor the end of the sequence
    assert codec.stop_ids == {end, 2}
    assert codec.encode("a", "a").response_ids[-1] == end


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}<{{ m['role'] }}>{% endfor %}",
        "{{ messages[0]['content'][:20] }}",
        "{{ messages[0]['content'] | lower }}",
        "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}<a>",
    ],
)
def test_a_template_that_loses_the_question_is_refused(template):
    with pytest.raises(ModelError, match="student ada: its chat template does not repeat a user's message"):
        Codec(tokenizer(template), name="ada")


@pytest.mark.parametrize(
    "template",
    [
        "{% set form = '%d %b' %}Today is {{ strftime_now(form) }}. {{ messages[0]['content'] }}",
        "{{ range(50000) | random }} {{ messages[0]['content'] }}",
    ],
)
def test_a_template_that_never_writes_the_same_is_refused(template):
    with pytest.raises(ModelError, match="student ada: its chat template writes another text each time"):
        Codec(tokenizer(template), name="ada")


@pytest.mark.parametrize("named", [False, True])
def test_todays_date_is_frozen_in_the_template_itself(named):
    template = (
        "{% if strftime_now is defined %}Today is {{ strftime_now(\"%d %b %Y\") }}, {{ strftime_now( '%A' ) }}. {% endif %}"
        + GOOD
    )
    told = tokenizer({"default": template} if named else template)
    codec = Codec(told, name="ada")
    assert codec.date_is_frozen
    text = render(told, [{"role": "user", "content": "a"}], who="student ada")
    assert text == "Today is 01 Jan 2025, Wednesday. <user>a"
    assert not Codec(told, name="ada").date_is_frozen  # once is enough: what is exported carries the date
