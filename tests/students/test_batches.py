"""How paths become batches: who shares, what fits, and that it changes nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qrdistill.students import attention, batches, head
from qrdistill.students.attention import Plan, Rules
from qrdistill.students.batches import Group, group_by_prefix, split
from qrdistill.students.config import StudentConfig
from qrdistill.students.loading import load_student
from qrdistill.students.student import Student
from qrdistill.students.tokens import Encoded

prompts = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 8), st.lists(st.integers(20, 22), min_size=1, max_size=3)),
    min_size=1,
    max_size=9,
)


def paths_of(drawn: list[tuple[int, int, list[int]]]) -> list[Encoded]:
    """Prompts that share beginnings of several lengths, with responses of one to three tokens."""
    return [
        Encoded((*(10 + question for _ in range(length)), *tail), (*tail, 2), [(0, 1)] * len(tail))
        for question, length, tail in drawn
    ]


def computed(paths: list[Encoded], groups: list[Group]) -> int:
    total = sum(path.num_tokens for path in paths)
    return total - sum(group.prefix * (len(group.members) - 1) for group in groups)


@settings(deadline=None)
@given(prompts)
def test_groups_cover_every_path_once_and_share_what_is_equal(
    drawn: list[tuple[int, int, list[int]]],
) -> None:
    paths = paths_of(drawn)
    groups = group_by_prefix(paths)
    assert sorted(member for group in groups for member in group.members) == list(range(len(paths)))
    for group in groups:
        beginnings = {paths[member].prompt_ids[: group.prefix] for member in group.members}
        assert len(beginnings) == 1
        assert all(len(paths[member].prompt_ids) > group.prefix for member in group.members)


@settings(deadline=None)
@given(prompts, st.integers(1, 40))
def test_batches_stay_below_the_limit(drawn: list[tuple[int, int, list[int]]], limit: int) -> None:
    paths = paths_of(drawn)
    parts = split(paths, limit)
    assert sorted(index for part in parts for index in part) == list(range(len(paths)))
    for part in parts:
        chosen = [paths[index] for index in part]
        assert len(part) == 1 or computed(chosen, group_by_prefix(chosen)) <= limit


def test_the_grouping_saves_most() -> None:
    """Two questions under one system prompt: sharing each question beats sharing the system prompt."""
    system, one, two = (1,) * 4, (5,) * 10, (6,) * 10
    paths = [Encoded((*system, *question, style), (2,), []) for question in (one, two) for style in (7, 8, 9)]
    groups = group_by_prefix(paths)
    assert [(group.members, group.prefix) for group in groups] == [((0, 1, 2), 14), ((3, 4, 5), 14)]
    assert all(group.prefix == 0 for group in group_by_prefix(paths, share=False))


def test_equal_prompts_share_all_but_their_last_token() -> None:
    paths = [Encoded((1, 2, 3), (4, 2), [(0, 1)])] * 3
    assert group_by_prefix(paths) == [Group((0, 1, 2), 2)]


@pytest.fixture(scope="module", params=["mistral", "gemma"])
def student(request: pytest.FixtureRequest, tiny_student_folder: Callable[..., Path]) -> Student:
    config = StudentConfig(name="s", model=str(tiny_student_folder(request.param)))
    return load_student(config, base_dir=Path("/"))


TEXTS = [
    ("Ann has 3 apples.\nThink step by step.\n", "3 + 4 = 7\nThe answer is 7."),
    ("Bob drives 30 km.\n", "30"),
    ("Ann has 3 apples.\nWrite a program.\n", "print(3)"),
    ("A dog has 4 legs.\nVerify backwards.\n", "4 legs, so the answer is 4."),
    ("Ann has 3 apples.\n", "7"),
    ("Bob drives 30 km.\nThink step by step.\n", "30 km, then 12 km. The answer is 42."),
    ("x - 5 = 12\n", "x = 17"),
    ("x - 5 = 12\nWrite a program.\n", "12 + 5"),
]


def test_one_batch_of_eight_is_eight_of_one(student: Student) -> None:
    encoded = [student.encode(*text) for text in TEXTS]
    together = student.forward(encoded, hidden=True)
    single = [student.forward([path], hidden=True) for path in encoded]
    torch.testing.assert_close(together.nll_B, torch.cat([view.nll_B for view in single]), rtol=1e-5, atol=1e-4)
    assert together.num_targets_B.tolist() == [path.num_targets for path in encoded]
    assert together.hidden is not None
    for path, states, view in zip(encoded, together.hidden, single, strict=True):
        assert states.shape == (len(path.spans), student.hidden_size)
        assert view.hidden is not None
        torch.testing.assert_close(states, view.hidden[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_tokens", [1, 60, 150])
def test_several_forwards_give_what_one_gives(student: Student, max_tokens: int) -> None:
    encoded = [student.encode(*text) for text in TEXTS]
    whole = student.forward(encoded, hidden=True)
    parts = student.forward(encoded, hidden=True, max_tokens=max_tokens)
    torch.testing.assert_close(parts.nll_B, whole.nll_B, rtol=1e-5, atol=1e-4)
    assert whole.hidden is not None
    assert parts.hidden is not None
    for one, two in zip(whole.hidden, parts.hidden, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_no_paths_are_an_empty_view(student: Student) -> None:
    view = student.forward([], hidden=True)
    assert view.nll_B.shape == (0,)
    assert view.hidden == []


def test_a_path_left_out_gets_no_gradient_and_moves_no_other(student: Student) -> None:
    """Perturbing one path's response changes its own NLL and nobody else's, shared prefix or not."""
    encoded = [student.encode(*text) for text in TEXTS]
    changed = list(encoded)
    changed[0] = student.encode(TEXTS[0][0], "Quite another response.")
    with torch.no_grad():
        before, after = student.forward(encoded).nll_B, student.forward(changed).nll_B
    assert not torch.isclose(before[0], after[0])
    torch.testing.assert_close(before[1:], after[1:], rtol=1e-5, atol=1e-4)


def test_hidden_states_are_transformers_at_the_tokens_own_positions(student: Student) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(student.source).eval()
    path = student.encode(*TEXTS[0])
    ids = torch.tensor([path.prompt_ids + path.response_ids])
    student.model.eval()
    with torch.no_grad():
        expected = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        view = student.forward([path], hidden=True)
    assert view.hidden is not None
    start = len(path.prompt_ids)
    torch.testing.assert_close(view.hidden[0], expected[start : start + len(path.spans)], rtol=1e-4, atol=1e-5)


def mixed_plan() -> tuple[Plan, int]:
    """Two prefixes with continuations and one path by itself; and the number of tokens."""
    segments, start = [], 0
    for prefix, lengths in ((6, (3, 9, 1)), (0, (12,)), (4, (2, 2))):
        first = start
        if prefix:
            segments.append(attention.Segment(start, 0, start, prefix))
            start += prefix
        for length in lengths:
            segments.append(attention.Segment(first, prefix, start, length))
            start += length
    return Plan(tuple(segments), torch.device("cpu")), start


@pytest.mark.parametrize("rules", [Rules(0.3), Rules(0.3, window=5), Rules(0.3, softcap=2.0)])
def test_padded_blocks_compute_what_segments_compute(rules: Rules) -> None:
    """The form for GPUs without a kernel of variable length."""
    plan, start = mixed_plan()
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(1, 2, start, 8, generator=generator, requires_grad=True) for _ in range(3)]
    outputs = [compute(*states, plan, rules) for compute in (attention._segments, attention._blocks)]
    torch.testing.assert_close(*outputs)
    weight = torch.randn(outputs[0].shape, generator=generator)
    gradients = [torch.autograd.grad((out * weight).sum(), states, retain_graph=True) for out in outputs]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:
    """What torch documents of `varlen_attn`, by hand: [T, H, D], the last query sees the last key."""
    assert enable_gqa == (q.shape[1] != k.shape[1])
    assert (cu_q.dtype, cu_k.dtype) == (torch.int32, torch.int32)
    assert (max_q, max_k) == (int(cu_q.diff().max()), int(cu_k.diff().max()))
    k, v = (states.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for states in (k, v))
    left, right = window_size
    outputs = []
    for (q0, q1), (k0, k1) in zip(pairwise(cu_q.tolist()), pairwise(cu_k.tolist()), strict=True):
        place = torch.arange(q1 - q0)[:, None] + (k1 - k0) - (q1 - q0) - torch.arange(k1 - k0)
        seen = (place >= -right) & ((place <= left) | (left < 0))
        scores = torch.einsum("qhd,khd->hqk", q[q0:q1], k[k0:k1]) * scale
        weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v[k0:k1]))
    return torch.cat(outputs)


def flash_of_torch_2_11(*states: Any, scale: float | None = None, window_size: Any = (-1, -1)) -> Tensor:
    return flash(*states, scale=scale, window_size=window_size)


@pytest.mark.parametrize("kernel", [flash, flash_of_torch_2_11])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("key_heads", [2, 4])
def test_the_variable_length_kernel_is_asked_for_what_segments_compute(
    kernel: Any, window: int | None, key_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No GPU here: a stand-in with the kernel's documented meaning shows that its arguments are right."""
    from torch.nn.attention import varlen

    documented = inspect.signature(varlen.varlen_attn).parameters
    assert {*inspect.signature(flash).parameters} - {"q", "k", "v", "cu_q", "cu_k"} <= {*documented}
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    plan, count = mixed_plan()
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, count, 8, generator=generator) for heads in (4, key_heads, key_heads))
    rules = Rules(0.3, window=window)
    expected = attention._segments(query, *attention.all_heads(query, key, value), plan, rules)
    torch.testing.assert_close(attention._varlen(query, key, value, plan, rules), expected)


def test_autocast_reaches_attention_in_one_type() -> None:
    """Rotary positions raise queries and keys to float32; a kernel for halves would refuse them."""
    wide, half = torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16)
    assert [each.dtype for each in attention.lowered(wide, half)] == [torch.float32, torch.bfloat16]
    with torch.autocast("cpu", torch.bfloat16):
        assert {each.dtype for each in attention.lowered(wide, wide, half)} == {torch.bfloat16}


def test_a_chunked_head_gives_the_same_loss_and_gradient(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = [student.encode(*text) for text in TEXTS]
    results = []
    ways = ((head.MAX_LOGITS, head.FUSED_FROM), (student.num_rows * 7, head.FUSED_FROM), (student.num_rows * 7, 0))
    for limit, fused_from in ways:  # whole, in chunks, fused
        monkeypatch.setattr(head, "MAX_LOGITS", limit)
        monkeypatch.setattr(head, "FUSED_FROM", fused_from)
        student.model.zero_grad()
        view = student.forward(encoded)
        view.nll_B.sum().backward()
        gradients = [parameter.grad.clone() for parameter in student.trainable_parameters()]
        results.append((view.nll_B.detach(), gradients))
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-4, atol=1e-4)


def test_a_path_that_is_only_compared_is_measured_and_teaches_nothing(student: Student) -> None:
    encoded = [student.encode(*text) for text in TEXTS]
    learnt = [at in (1, 2, 5) for at in range(len(encoded))]
    whole = student.forward(encoded)
    view = student.forward(encoded, hidden=True, learnt=learnt)
    torch.testing.assert_close(view.nll_B, whole.nll_B, rtol=1e-5, atol=1e-4)
    parameters = student.trainable_parameters()
    expected = torch.autograd.grad(whole.nll_B[learnt].sum(), parameters)
    found = torch.autograd.grad(view.nll_B.sum(), parameters, retain_graph=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert view.hidden is not None
    compared = torch.autograd.grad(view.hidden[0].sum(), parameters, allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in compared)
    nothing = student.forward(encoded, learnt=[False] * len(encoded))
    torch.testing.assert_close(nothing.nll_B, whole.nll_B, rtol=1e-5, atol=1e-4)


def test_a_batch_holds_no_padding(student: Student) -> None:
    encoded = [student.encode(*text) for text in TEXTS]
    batch = batches.build(encoded, share=False, device=torch.device("cpu"))
    assert batch.tokens_T.tolist() == [
        token for path in encoded for token in (*path.prompt_ids, *path.response_ids[:-1])
    ]
