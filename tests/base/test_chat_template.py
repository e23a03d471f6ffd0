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


@pytest.mark.parametrize(("template", "reason"), HOSTILE)
def test_a_hostile_template_is_one_message_that_names_the_teacher(template, reason):
    from qrdistill.llm.config import TransformersTeacher
    from qrdistill.llm.reply_cache import ChatRequest
    from qrdistill.llm.transformers_client import TransformersChat

    chat = TransformersChat(TransformersTeacher(name="eve", kind="transformers", model="m"))
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
