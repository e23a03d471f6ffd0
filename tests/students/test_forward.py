"""Packed, prefix-sharing computation against what transformers itself computes, family by family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "mistral-window": {"sliding_window": 8},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "qwen2": {},
    "qwen3": {},
    "phi": {},
    "phi3": {},
}
PATHS = [
    ("Ann has 3 apples and buys 4 more.\nThink step by step.\n", "3 + 4 = 7\nSo the answer is 7."),
    ("Bob drives 30 km.\nWrite a program.\n", "print(30)"),
    ("Ann has 3 apples and buys 4 more.\nWrite a program.\n", "x = 3 + 4; the answer is 7."),
    ("Ann has 3 apples and buys 4 more.\n", "7"),
    ("Bob drives 30 km.\nThink step by step.\n", "A dog has 4 legs, a hen has 2 legs. The answer is 30."),
]


@pytest.fixture(scope="module", params=list(FAMILIES))
def student(request: pytest.FixtureRequest, tiny_student_folder: Callable[..., Path]) -> Student:
    family = request.param.partition("-")[0]
    folder = tiny_student_folder(family, **FAMILIES[request.param])
    return load_student(StudentConfig(name=family, model=str(folder)), base_dir=Path("/"))


def plain_nll(student: Student, folder: str) -> tuple[torch.Tensor, Any]:
    """transformers alone, one path at a time, from the very folder."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    losses = []
    for prompt, response in PATHS:
        path = student.encode(prompt, response)
        ids = torch.tensor([path.prompt_ids + path.response_ids])
        labels = ids.clone()
        labels[:, : len(path.prompt_ids)] = -100
        losses.append(model(input_ids=ids, labels=labels, use_cache=False).loss * path.num_targets)
    return torch.stack(losses), model


@pytest.mark.parametrize("shared_prefix", [False, True])
def test_packed_loss_and_gradients_are_transformers_own(student: Student, shared_prefix: bool) -> None:
    assert student.packed
    student.model.eval()
    weights = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.5])
    expected, model = plain_nll(student, student.source)
    (expected * weights).sum().backward()
    view = student.forward([student.encode(*path) for path in PATHS], shared_prefix=shared_prefix)
    student.model.zero_grad()
    (view.nll_B * weights).sum().backward()
    torch.testing.assert_close(view.nll_B, expected, rtol=2e-5, atol=1e-4)
    theirs = dict(model.named_parameters())
    for name, parameter in student.model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=2e-4, msg=name)


def test_shared_prefix_computes_fewer_tokens(student: Student) -> None:
    encoded = [student.encode(*path) for path in PATHS]
    with torch.no_grad():
        plain = student.forward(encoded, shared_prefix=False)
        shared = student.forward(encoded)
    assert plain.num_tokens == sum(path.num_tokens for path in encoded)
    assert shared.num_tokens < 0.8 * plain.num_tokens
