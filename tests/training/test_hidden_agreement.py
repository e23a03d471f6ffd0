from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrdistill.training.config import MutualConfig
from qrdistill.training.methods.hidden_agreement import Mutual
from qrdistill.training.spans import pool_hidden, pooling, share_path, text_spans

TEXT = "She has 3 apples.\nShe buys 4 more.\n\nThe answer is 7."


def cut(text: str, marks: list[int]) -> list[tuple[int, int]]:
    """Tokens that cover the text, cut at the given places."""
    edges = sorted({0, len(text), *(mark % (len(text) + 1) for mark in marks)})
    return list(itertools.pairwise(edges))


def characters_as_states(text: str, tokens: list[tuple[int, int]]) -> torch.Tensor:
    """A model without context: a token's state is the mean of its characters' vectors."""
    table = torch.randn(256, 5, generator=torch.Generator().manual_seed(0))
    return torch.stack([table[[ord(c) for c in text[start:end]]].mean(0) for start, end in tokens])


@settings(max_examples=60, deadline=None)
@given(
    a=st.lists(st.integers(0, 100), max_size=30),
    b=st.lists(st.integers(0, 100), max_size=30),
    kind=st.sampled_from(["step", "word"]),
)
def test_identical_students_with_different_tokenizers_agree_span_by_span(a: list[int], b: list[int], kind: str) -> None:
    """Tokens cut at span edges anywhere else: the pooled states are those of the same characters."""
    edges = [edge for span in text_spans(TEXT, kind) for edge in span]
    first, second = cut(TEXT, a + edges), cut(TEXT, b + edges)
    shared = share_path(TEXT, [first, second], kind)
    assert shared.num_spans == len(text_spans(TEXT, kind))
    pooled = [
        pool_hidden([characters_as_states(TEXT, tokens)], [pool], [shared.num_spans])
        for tokens, pool in zip((first, second), shared.poolings, strict=True)
    ]
    torch.testing.assert_close(pooled[0], pooled[1], atol=1e-5, rtol=1e-4)


def test_positions_alone_would_not_agree() -> None:
    """What comparing by position does, as the public implementation did: the check above can fail."""
    one, two = (list(cut(TEXT, marks)) for marks in (list(range(0, 50, 3)), list(range(0, 50, 5))))
    a, b = characters_as_states(TEXT, one), characters_as_states(TEXT, two)
    length = min(len(a), len(b))
    assert (a[:length] - b[:length]).abs().mean() > 0.3


def test_overlaps_are_weighed_in_characters() -> None:
    pool = pooling([(0, 4), (4, 6)], [(2, 6)])
    assert pool.weight.tolist() == [0.5, 0.5]
    pooled = pool_hidden([torch.tensor([[1.0], [3.0]])], [pool], [1])
    assert pooled.tolist() == [[2.0]]


def test_a_span_that_one_tokenizer_dropped_is_left_out_for_all() -> None:
    shared = share_path("ab cd", [[(0, 2), (3, 5)], [(3, 5)]], "word")
    assert shared.num_spans == 1
    assert [pool.token.tolist() for pool in shared.poolings] == [[1], [0]]


def test_several_paths_pool_as_each_alone() -> None:
    states = [torch.randn(3, 2), torch.randn(2, 2)]
    pools = [pooling([(0, 1), (1, 2), (2, 4)], [(0, 2), (2, 4)]), pooling([(0, 2), (2, 3)], [(0, 3)])]
    both = pool_hidden(states, pools, [2, 1])
    alone = [pool_hidden([s], [p], [n]) for s, p, n in zip(states, pools, [2, 1], strict=True)]
    torch.testing.assert_close(both, torch.cat(alone))


def build(**changes: Any) -> Mutual:
    return Mutual([("a", 6), ("b", 4)], MutualConfig(weight=1.0, dimension=8, **changes), seed=0)


def run(mutual: Mutual, nll: list[list[float]], seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    pooled = [torch.randn(5, width, generator=generator).requires_grad_() for width in (6, 4)]
    owner = torch.tensor([0, 0, 1, 1, 1])
    return pooled, mutual(pooled, owner, torch.tensor(nll), num_spans=5, num_paths=2)


NLL = [[0.1, 0.3], [0.5, 0.2]]


def test_every_competence_and_projector_parameter_gets_a_gradient() -> None:
    mutual = build()
    _, agreement = run(mutual, NLL)
    (agreement.mse + agreement.competence).backward()
    for name, parameter in mutual.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_each_loss_moves_its_own_parts_only() -> None:
    mutual = build()
    pooled, agreement = run(mutual, NLL)
    agreement.competence.backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in mutual.projectors.parameters())
    assert all(states.grad is None for states in pooled)  # students cannot look competent, only be it
    mutual.zero_grad(set_to_none=True)
    agreement.mse.backward()
    assert all(parameter.grad is None for parameter in mutual.competence.parameters())  # the target is detached
    assert all(states.grad is not None and states.grad.abs().sum() > 0 for states in pooled)


def test_competence_learns_who_is_better() -> None:
    mutual = build()
    optimizer = torch.optim.Adam(mutual.competence.parameters(), lr=0.02)
    first = last = 0.0
    for _step in range(60):
        _, agreement = run(mutual, NLL)
        last = agreement.competence.item()
        first = first or last
        optimizer.zero_grad()
        agreement.competence.backward()
        optimizer.step()
        mutual.finish_step()
    target = (-torch.tensor(NLL) / 0.1).softmax(-1)
    entropy = -(target * target.log()).sum(1).mean().item()
    assert first > entropy + 0.1
    assert last == pytest.approx(entropy, abs=0.02)


def test_better_peer_pulls_only_the_worse_student_towards_the_better() -> None:
    mutual = build(gate="better_peer")
    pooled, agreement = run(mutual, NLL)
    agreement.mse.backward()
    gradients = [states.grad.abs().sum(1) for states in pooled]  # per span; path 0: a better, path 1: b better
    assert (gradients[0][:2] == 0).all()
    assert (gradients[0][2:] > 0).all()
    assert (gradients[1][:2] > 0).all()
    assert (gradients[1][2:] == 0).all()


def test_z_has_unit_scale_whatever_the_states_scale() -> None:
    mutual = build()
    for _ in range(3):
        z = mutual.project(0, 100 * torch.randn(40, 6) + 7)
        mutual.finish_step()
    assert z.square().mean(-1).tolist() == pytest.approx([1.0] * 40, rel=1e-3)
    assert z.mean(0).abs().max() < 0.5  # the constant 7 is gone


@pytest.mark.parametrize("normalised", [True, False])
def test_the_shared_space_does_not_collapse(normalised: bool) -> None:
    """Projectors alone could make every span alike; what varies between spans must survive."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(200, 6, generator=generator) + 3.0
    foreign = torch.randn(200, 4, generator=generator)  # says nothing about `source`: agreeing means to fall silent
    mutual = build()
    optimizer = torch.optim.Adam(mutual.projectors.parameters(), lr=0.02)

    def project(index: int, states: torch.Tensor) -> torch.Tensor:
        return mutual.project(index, states) if normalised else mutual.projectors[index](states)

    for _ in range(300):
        a, b = project(0, source), project(1, foreign)
        target = ((a + b) / 2).detach()
        optimizer.zero_grad()
        ((a - target).square().mean() + (b - target).square().mean()).backward()
        optimizer.step()
        mutual.finish_step()
    spread = project(0, source).var(0).mean().item()
    assert (spread > 0.3) == normalised, spread


def test_splitting_a_step_changes_neither_loss_nor_statistics() -> None:
    whole, parts = build(), build()
    pooled, agreement = run(whole, NLL)
    first = parts(
        [states[:2] for states in pooled],
        torch.tensor([0, 0]),
        torch.tensor(NLL[:1]),
        num_spans=5,
        num_paths=2,
    )
    rest = parts(
        [states[2:] for states in pooled],
        torch.tensor([0, 0, 0]),
        torch.tensor(NLL[1:]),
        num_spans=5,
        num_paths=2,
    )
    torch.testing.assert_close(agreement.mse, first.mse + rest.mse)
    torch.testing.assert_close(agreement.competence, first.competence + rest.competence)
    whole.finish_step()
    parts.finish_step()
    torch.testing.assert_close(whole.get_buffer("sums_3SD"), parts.get_buffer("sums_3SD"))


def test_a_dimension_is_taken_as_its_deviation_from_what_it_usually_is() -> None:
    mutual = build()
    pooled_KH = torch.randn(64, mutual.projectors[0].in_features, generator=torch.Generator().manual_seed(1)) + 2.0
    mutual.project(0, pooled_KH)
    mutual.finish_step()  # now the running statistics are this batch's
    raw_KD = mutual.projectors[0](pooled_KH)
    expected_KD = (raw_KD - raw_KD.mean(0)) / raw_KD.std(0, unbiased=False)
    expected_KD = expected_KD / expected_KD.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(mutual.project(0, pooled_KH), expected_KD, rtol=1e-3, atol=1e-3)
