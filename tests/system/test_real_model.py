"""A pretrained model, not a tiny random one: SmolLM2-135M-Instruct, fetched by the set-up from its package.

Its tokenizer has 49,152 words, a chat template with a system message, and one token that pads, ends and closes a turn.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.records import Question, ReasoningPath
from qrdistill.paths.styles import STYLES, student_prompt
from qrdistill.routing.config import RouterConfig
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.plan import TrainData, TrainPlan

EXAMPLES = Path(__file__).parents[2] / "examples/real"
PROMPT = student_prompt("How many legs have 3 crabs and a duck?", STYLES["chain_of_thought"])
RESPONSES = (
    "3 crabs: 3 * 10 = 30\n1 duck: 1 * 2 = 2\n30 + 2 = 32\nThe answer is 32.",
    "Each crab has 10 legs, so they have 30 — “thirty” — and the duck has 2 more. The answer is 32.",
    "The answer is 32.",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    """Made by `make test`'s set-up; made here where somebody runs this file by itself."""
    return runpy.run_path(str(EXAMPLES / "get_models.py"))["get_model"]("smollm2", EXAMPLES / "models/smollm2")


@pytest.fixture(scope="module")
def student(folder: Path) -> Any:
    from qrdistill.students.loading import load_student

    return load_student(StudentConfig(name="smollm2", model=str(folder)), base_dir=folder)


def own_prompt_ids(student: Any) -> list[int]:
    """The tokens of PROMPT by transformers' own chat template."""
    message = [{"role": "user", "content": PROMPT.rstrip("\n")}]  # as a user would send it
    ids: list[int] = student.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    return ids


def test_prompts_are_the_chat_templates_and_labels_are_the_text_and_its_end(student: Any) -> None:
    for response in RESPONSES:
        encoded = student.encode(PROMPT, response)
        assert list(encoded.prompt_ids) == own_prompt_ids(student)
        assert encoded.exact
        assert student.tokenizer.decode(encoded.response_ids) == f"{response}<|im_end|>"
        assert "".join(response[start:end] for start, end in encoded.spans) == response


def test_a_packed_batch_has_the_losses_that_transformers_gives_one_by_one(student: Any) -> None:
    import torch

    assert student.packed
    encoded = [student.encode(PROMPT, response) for response in RESPONSES]
    with torch.no_grad():
        view = student.forward(encoded)
        for path, nll in zip(encoded, view.nll_B.tolist(), strict=True):
            ids = torch.tensor([[*path.prompt_ids, *path.response_ids]])
            labels = ids.clone()
            labels[0, : len(path.prompt_ids)] = -100
            expected = float(student.core(input_ids=ids, labels=labels).loss) * path.num_targets
            assert nll == pytest.approx(expected, rel=1e-4)
    alone = sum(path.num_tokens for path in encoded)
    once = len(own_prompt_ids(student)) - 1  # its last token predicts, once per path
    assert view.num_tokens == alone - 2 * once, "the question is computed once"


def test_it_is_packed_in_half_precision_too(student: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU trains it. Batches of other lengths round otherwise, which is no leak from path to path."""
    import torch

    from qrdistill.students.packing.proof import prove_at_length

    monkeypatch.setattr(student, "autocast_dtype", torch.bfloat16)
    paths = [student.encode(PROMPT, RESPONSES[1] * 6), student.encode(PROMPT, RESPONSES[0])]
    assert prove_at_length(student, paths) is None
    assert student.packed


def test_greedy_text_is_that_of_transformers(student: Any) -> None:
    import torch

    from qrdistill.students.decode.decode import decode

    ids = torch.tensor([own_prompt_ids(student)])
    theirs = student.core.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, pad_token_id=2
    )
    (written,) = decode(student, [PROMPT], max_tokens=16)
    assert written[0].text == student.tokenizer.decode(theirs[0, ids.shape[1] :], skip_special_tokens=True)


def test_three_steps_teach_it_and_its_export_says_the_same(folder: Path, student: Any, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from qrdistill.students.decode.decode import decode
    from qrdistill.students.export import export_student
    from qrdistill.students.loading import load_student
    from qrdistill.training.train import train

    question = Question(
        id="q", split="train", task="t", family="f", kind="number", question="How many legs has a crab?", gold="10"
    )
    paths = [
        ReasoningPath(
            id=f"q/{style}", question_id="q", teacher="t", style=style, prompt_hash="", text=text, answer="10"
        )
        for style, text in (("vanilla", "The answer is 10."), ("facts", "Each crab has 10 legs.\nThe answer is 10."))
    ]
    lora = LoraSettings(rank=4, dropout=0.0)
    settings = StudentConfig(name="smollm2", model=str(folder), lora=lora, learning_rate=3e-3)
    result = train(
        TrainData({"q": question}, paths, STYLES),
        TrainPlan(
            [settings],
            RouterConfig(kind="all"),
            MutualConfig(),
            TrainConfig(
                steps=3, paths_per_step=2, warmup=0, schedule="constant", style_dropout=0.0, max_tokens_per_batch=256
            ),
        ),
        tmp_path,
        base_dir=tmp_path,
        seed=0,
    )
    assert result.kept_out == {}
    losses = [json.loads(line)["imitate"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[2] < 0.7 * losses[0]
    trained = load_student(StudentConfig(name="again", model=result.students["smollm2"]), base_dir=tmp_path)
    prompt = student_prompt(question.question, STYLES["vanilla"])
    path = [student.encode(prompt, "The answer is 10.")]
    with torch.no_grad():
        assert float(trained.forward(path).nll_B) < 0.7 * float(student.forward(path).nll_B)

    ((written,),) = decode(trained, [prompt], max_tokens=12)
    merged = export_student(trained, tmp_path / "merged", merge=True)
    plain = AutoModelForCausalLM.from_pretrained(merged)
    ids = torch.tensor([list(trained.codec.prompt_ids(prompt))])
    told = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert trained.tokenizer.decode(told[0, ids.shape[1] :], skip_special_tokens=True) == written.text
