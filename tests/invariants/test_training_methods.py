"""A method of a user's own goes through the step and through `train` as the built-in ones do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from qrdistill.base.records import Assignment
from qrdistill.base.store import content_hash, read_table
from qrdistill.training.method import Method, Reading, Setting, StepBatch, Term, together
from qrdistill.training.step import training_step


class EverySecondToken(Method):
    """Both students read the programs only; every second token counts a quarter, a path `weight`."""

    name = "every_second_token"

    def __init__(self, setting: Setting, weight: float = 1.0) -> None:
        self._material, self._weight = setting.material, weight

    def read(self, batch: StepBatch) -> Reading:
        styles = [self._material.paths[row].style for row in batch.request.rows]
        weights_BS = torch.tensor([[self._weight * (style == "program")] * 2 for style in styles])

        def token_weights(s: int, b: int) -> torch.Tensor:
            weights_T = torch.ones(batch.encoded(s, b).num_targets)
            weights_T[1::2] = 0.25
            return weights_T

        return Reading(weights_BS, token_weights)


class Plain(Method):
    """Both students read everything."""

    name = "plain"

    def __init__(self, setting: Setting) -> None: ...

    def read(self, batch: StepBatch) -> Reading:
        return Reading(torch.ones(batch.pinned_BS.shape))


class Brake(Plain):
    """Adds a term of its own with a parameter of its own; keeps it over a kill."""

    name = "brake"

    def __init__(self, setting: Setting) -> None:
        self.value = torch.nn.Parameter(torch.zeros(()))

    def settle(self, batch: StepBatch, reading: Reading) -> Sequence[Term]:
        return (Term("brake", (self.value - 1).square(), 0.5),)

    def groups(self) -> Any:
        from qrdistill.training.optimizers import companion

        return [companion("brake", [self.value], 0.1)]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state: Any) -> None:
        self.value.data.copy_(state["value"])


def gradients(built: Any) -> dict[str, list[torch.Tensor]]:
    """Each student's gradients of one step, before clipping and before any optimizer moves."""
    found: dict[str, list[torch.Tensor]] = {}
    for group in built.team.groups:
        group.optimizer.step = lambda *_, group=group: found.update(
            {group.name: [parameter.grad.clone() for parameter in group.parameters]}
        )
    training_step(built.batch(), built.team, 1.0)
    return found


def by_hand(student: Any, batch: StepBatch, s: int, programs_only: bool) -> list[torch.Tensor]:
    """The gradient of sum w NLL / sum w, from the model's plain logits, one path at a time."""
    total, weight = torch.zeros(()), 0.0
    for b, path in enumerate(batch.path_ids):
        if programs_only and "/program/" not in path:
            continue
        encoded = batch.encoded(s, b)
        ids = torch.tensor([[*encoded.prompt_ids, *encoded.response_ids[:-1]]])
        mask = torch.ones_like(ids)
        logits = student.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
        log_probability = logits[len(encoded.prompt_ids) - 1 :].log_softmax(-1)
        for t, token in enumerate(encoded.response_ids):
            counts = 0.25 if programs_only and t % 2 else 1.0
            total = total - counts * log_probability[t, token]
            weight += counts
    return list(torch.autograd.grad(total / weight, student.trainable_parameters()))


@pytest.mark.parametrize(("method", "programs_only"), [(EverySecondToken, True), (Plain, False)])
def test_token_weights_act_exactly(stage: Callable[..., Any], method: Any, programs_only: bool) -> None:
    built = stage(methods=[method], config={"clip": 1e9})
    found = gradients(built)
    for s, student in enumerate(built.team.students):
        expected = by_hand(student, built.batch(), s, programs_only)
        for one, other in zip(found[student.name], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_micro_batch_more_changes_no_weighted_gradient(stage: Callable[..., Any]) -> None:
    whole, parts = (
        gradients(stage(methods=[EverySecondToken], config={"clip": 1e9, "max_tokens_per_batch": tokens}))
        for tokens in (4096, 1)
    )
    for name in whole:
        for one, other in zip(whole[name], parts[name], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_negative_weight_is_an_advantage_and_moves_the_other_way(stage: Callable[..., Any]) -> None:
    towards, away = (
        gradients(stage(methods=[lambda setting, w=w: EverySecondToken(setting, w)], config={"clip": 1e9}))
        for w in (2.0, -2.0)
    )
    for name in towards:
        for one, other in zip(towards[name], away[name], strict=True):
            torch.testing.assert_close(one, -other)
    assert any(gradient.abs().max() > 1e-3 for gradient in towards["ada"])


def test_weights_of_several_methods_add_up_token_by_token(stage: Callable[..., Any]) -> None:
    built = stage(methods=[EverySecondToken, Plain])
    batch = built.batch()
    both = together([method.read(batch) for method in built.team.methods], batch.encoded)
    for b, path in enumerate(batch.path_ids):
        weights_T = both.weights_BS[b, 1] * both.token_weights(1, b)
        program = "/program/" in path
        assert weights_T[:4].tolist() == ([2.0, 1.25, 2.0, 1.25] if program else [1.0] * 4)


def test_a_method_of_ones_own_trains_resumes_and_is_recorded(train_run: Callable[..., Any]) -> None:
    class Cut(Exception):
        pass

    def go(name: str, cut_at: int | None) -> Any:
        class Brakes(Brake):
            def finish(self, batch: StepBatch, reading: Reading) -> str | None:
                if cut_at == batch.request.step:
                    raise Cut
                return "the brake is on"

        return train_run(name, methods=[EverySecondToken, Brakes])

    _, whole, told = go("whole", None)
    assert told.warnings == ["the brake is on"]  # said once
    with pytest.raises(Cut):
        go("killed", 3)
    result, killed, told = go("killed", None)
    assert (result.warnings, told.warnings) == (["the brake is on"], [])
    for file in ("students/ada/model.safetensors", "students/bob/model.safetensors"):
        assert content_hash(whole / file) == content_hash(killed / file)
    rows = list(read_table(whole / "assignments.parquet", Assignment))
    assert {row.probability for row in rows} == {1.0}
    lines = (whole / "metrics.jsonl").read_text()
    assert '"brake": 1.0' in lines.splitlines()[0]
    assert '"route"' not in lines


def test_only_programs_are_trained_where_the_method_says_so(train_run: Callable[..., Any]) -> None:
    _, folder, _ = train_run("run", methods=[EverySecondToken], config={"steps": 2, "paths_per_step": 16})
    rows = list(read_table(folder / "assignments.parquet", Assignment))
    assert {("/program/" in row.path_id, row.chosen) for row in rows} == {(True, True), (False, False)}
