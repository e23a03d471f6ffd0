from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.students.config import StudentConfig
from qrdistill.students.decode.decode import decode, decode_requests
from qrdistill.students.decode.sampler import Request, choose
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student

PROMPTS = ["Ann has 3 apples.\n", "Bob drives 30 km, then 12 km.\nThink step by step.\n", "A dog.\n", "x\n"]


FAMILIES: dict[str, dict[str, Any]] = {
    "mistral": {},
    "mistral-window": {"sliding_window": 8},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "qwen3": {},
    "gpt_oss": {"head_dim": 8, "num_local_experts": 4},  # not packed: transformers' own cache
}


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_greedy_text_is_generates_text(kind: str, tiny_student_folder: Callable[..., Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_student_folder(kind.partition("-")[0], **FAMILIES[kind])
    student = load_student(StudentConfig(name="s", model=str(folder)), base_dir=Path("/"))
    ours = decode(student, PROMPTS, max_tokens=24, batch_size=3)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt, (completion,) in zip(PROMPTS, ours, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = out.sequences[0, ids.shape[1] :]
        assert completion.text == tokenizer.decode(new, skip_special_tokens=True)
        assert completion.tokens == len(new)
        logprob = sum(float(torch.log_softmax(step[0], -1)[token]) for step, token in zip(out.logits, new, strict=True))
        assert completion.logprob == pytest.approx(logprob, rel=1e-4)


@pytest.fixture(scope="module")
def student(tiny_student_folder: Callable[..., Path]) -> Student:
    return load_student(StudentConfig(name="s", model=str(tiny_student_folder("mistral"))), base_dir=Path("/"))


MANY = [f"{prompt}{hint}" for prompt in PROMPTS for hint in ("", "Write a program.\n", "7 7 7\n")]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_completion_does_not_depend_on_its_neighbours(student: Student, temperature: float) -> None:
    """Any batch size, any order, refilled rows or not: the same text."""
    settings = {"max_tokens": 10, "temperature": temperature, "seed": 5, "samples": 2}
    expected = decode(student, MANY, batch_size=1, **settings)  # type: ignore[arg-type]
    for batch_size in (2, 5, 64):
        found = decode(student, MANY, batch_size=batch_size, **settings)  # type: ignore[arg-type]
        assert [[c.text for c in row] for row in found] == [[c.text for c in row] for row in expected]
        for one, two in zip(found, expected, strict=True):
            assert [c.logprob for c in one] == pytest.approx([c.logprob for c in two], rel=1e-4)
    backwards = decode(student, MANY[::-1], batch_size=3, **settings)[::-1]  # type: ignore[arg-type]
    assert [[c.text for c in row] for row in backwards] == [[c.text for c in row] for row in expected]


def test_a_question_is_read_once_over_its_styles_and_samples(student: Student) -> None:
    """However rows end: what prompts begin with is not read again for each."""
    read: list[int] = []

    def count(_: object, tokens: tuple[torch.Tensor], __: object) -> None:
        read.extend([tokens[0].shape[1]] if tokens[0].shape[1] > 1 else [])

    prompts = [student.codec.prompt_ids(prompt) for prompt in MANY]
    asked = [Request(prompt, torch.zeros(9), 2 + at % 7) for at, prompt in enumerate(prompts * 2)]
    handle = student.model.get_input_embeddings().register_forward_hook(count)
    try:
        decode_requests(student, asked, batch_size=6, temperature=0.0)
    finally:
        handle.remove()
    questions, hints = sum(map(len, prompts[::3])), sum(map(len, prompts)) - 3 * sum(map(len, prompts[::3]))
    assert sum(read) <= questions + 2 * (hints + len(MANY))  # each sample reads its hint and the token before it


def test_samples_differ_by_seed_and_sample(student: Student) -> None:
    one, two = (decode(student, PROMPTS[:1], max_tokens=20, temperature=1.0, seed=seed, samples=3) for seed in (0, 1))
    assert len({completion.text for completion in (*one[0], *two[0])}) == 6


def test_sampling_draws_from_the_tempered_distribution() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.7]]))
    draws = [(at + 0.5) / 1000 for at in range(1000)]
    chosen, gained = choose(logits.expand(1000, 3), 1.0, draws)
    assert [chosen.count(token) for token in range(3)] == [100, 200, 700]
    assert gained[0] == pytest.approx(float(logits[0, 0]))
    sharp, same = choose(logits.expand(1000, 3), 0.5, draws)
    assert sharp.count(2) == round(1000 * 0.49 / 0.54)
    assert same[-1] == gained[-1]  # log-probabilities are of the untempered distribution


def test_max_tokens_and_context_cut_visibly(tiny_student_folder: Callable[..., Path]) -> None:
    folder = str(tiny_student_folder("mistral"))
    student = load_student(StudentConfig(name="s", model=folder, max_context=24), base_dir=Path("/"))
    student.codec.stop_ids = frozenset()  # a random student must not stop by chance here
    (short,), (long,) = decode(student, ["x\n", PROMPTS[1] * 4], max_tokens=5)
    assert (short.tokens, short.finish_reason) == (5, "length")
    assert (long.text, long.tokens, long.finish_reason) == ("", 0, "length")
    ((cut,),) = decode(student, ["x\n"], max_tokens=99)
    assert cut.tokens == 24 - len(student.codec.prompt_ids("x\n"))


def test_stopping_leaves_the_end_token_out_of_the_text(student: Student) -> None:
    first = decode(student, ["x\n"], max_tokens=6)[0][0]
    ids = student.codec.encode("x\n", first.text).response_ids
    stop_ids = student.codec.stop_ids
    student.codec.stop_ids = frozenset({ids[0]})
    try:
        ((stopped,),) = decode(student, ["x\n"], max_tokens=6)
    finally:
        student.codec.stop_ids = stop_ids
    assert (stopped.text, stopped.tokens, stopped.finish_reason) == ("", 1, "stop")


def test_nothing_asked_is_nothing_written(student: Student) -> None:
    assert decode(student, [], max_tokens=5) == []


def test_decoding_leaves_training_mode_as_it_was(student: Student) -> None:
    student.model.train()
    decode(student, ["x\n"], max_tokens=1)
    assert student.model.training


@pytest.mark.parametrize("packed", [True, False])
def test_a_completion_ends_before_a_stop_text(student: Student, packed: bool) -> None:
    prompts = [*PROMPTS, *PROMPTS]
    whole = [row[0] for row in decode(student, prompts, max_tokens=24)]
    stop = [whole[0].text[6:9], whole[1].text[2:4]]
    own = student.packed
    student.packed = packed and own
    try:
        found = [row[0] for row in decode(student, prompts, max_tokens=24, batch_size=3, stop=stop)]
    finally:
        student.packed = own
    for one, two in zip(whole, found, strict=True):
        ends = [place for end in stop if (place := one.text.find(end)) >= 0]
        assert two.text == (one.text[: min(ends)] if ends else one.text)
        assert (two.finish_reason, two.tokens < one.tokens) == (("stop", True) if ends else (one.finish_reason, False))
    assert any(one.text != two.text for one, two in zip(whole, found, strict=True))
