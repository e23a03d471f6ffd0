"""What must hold of one training step, whatever the models: METHOD's table of mistakes, turned round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from qrdistill.base.errors import TrainingError
from qrdistill.students.config import StudentConfig
from qrdistill.training.step import training_step


def gradients(stage: Any, batches: list[Any]) -> dict[str, torch.Tensor]:
    """Gradients summed over the batches, caught before any optimizer moves."""
    found: dict[str, torch.Tensor] = {}
    for group in stage.team.groups:

        def catch(*args: Any, group: Any = group, **kwargs: Any) -> None:
            for index, parameter in enumerate(group.parameters):
                if parameter.grad is not None:
                    key = f"{group.name}/{index}"
                    found[key] = found.get(key, 0) + parameter.grad.clone()

        group.optimizer.step = catch
    for batch in batches:
        training_step(batch, stage.team, 1.0)
    return found


@pytest.mark.parametrize("peer_loss", ["predicted", "fresh", "dense"])
def test_the_task_loss_gives_every_router_parameter_a_gradient(stage: Callable[..., Any], peer_loss: str) -> None:
    built = stage(router={"peer_loss": peer_loss, "balance": 0.0, "entropy": 0.0})
    for step in range(3):  # from the second epoch on, the ledger gives the learning state something to say
        found = gradients(built, [built.batch(step)])
    names = [name for name in found if name.startswith(":router/")]
    assert len(names) == len(built.assigner.parameters()) == 6
    for name in names:
        assert found[name].abs().sum() > 0, name


def test_every_trainable_parameter_is_in_one_group_and_moves(stage: Callable[..., Any]) -> None:
    built = stage(mutual={"weight": 0.5}, config={"paths_per_step": 16})
    everything = built.weights()
    grouped = [id(parameter) for group in built.team.groups for parameter in group.parameters]
    assert len(grouped) == len(set(grouped)) == len(everything)
    for step in range(3):
        training_step(built.batch(step), built.team, 1.0)
    after = built.weights()
    still = [name for name, value in everything.items() if torch.equal(value, after[name])]
    assert still == []


def test_an_unrouted_path_gives_that_student_exactly_no_gradient(stage: Callable[..., Any]) -> None:
    allowed = {path: frozenset({"ada"}) for path in stage().batch().path_ids}
    built = stage(router={"kind": "all"}, allowed=allowed)
    found = gradients(built, [built.batch()])
    assert {name.split("/")[0] for name in found} == {"ada"}


def test_a_students_gradient_is_that_of_its_own_paths_alone(stage: Callable[..., Any]) -> None:
    built = stage(router={"kind": "style", "styles": {"program": "ada", "chain_of_thought": "bob"}})
    batch = built.batch()
    found = gradients(built, [batch])
    student = built.student("ada")
    own = [b for b, path in enumerate(batch.path_ids) if "/program/" in path]
    assert 0 < len(own) < len(batch.path_ids)
    student.model.zero_grad()
    view = student.forward([batch.encoded(0, b) for b in own])
    (view.nll_B.sum() / view.num_targets_B.sum()).backward()
    torch.nn.utils.clip_grad_norm_(student.trainable_parameters(), 1.0)
    for index, parameter in enumerate(student.trainable_parameters()):
        torch.testing.assert_close(found[f"ada/{index}"], parameter.grad)


@pytest.mark.parametrize("max_tokens", [1, 150])
def test_micro_batches_add_up_to_the_whole_step(stage: Callable[..., Any], max_tokens: int) -> None:
    settings: dict[str, Any] = {"router": {"peer_loss": "fresh"}, "mutual": {"weight": 0.5, "share": 0.5}}
    whole = stage(**settings)
    parts = stage(**settings, config={"max_tokens_per_batch": max_tokens})
    for step in range(2):
        one = training_step(whole.batch(step), whole.team, 1.0)
        many = training_step(parts.batch(step), parts.team, 1.0)
        torch.testing.assert_close(one.nll_BS, many.nll_BS, equal_nan=True, rtol=1e-4, atol=1e-4)
        assert one.losses == pytest.approx(many.losses, rel=1e-4, abs=1e-5)
        assert one.gradient_norms == pytest.approx(many.gradient_norms, rel=1e-3, abs=1e-5)


def test_the_report_adds_up_and_the_ledger_counts_characters(stage: Callable[..., Any]) -> None:
    built = stage(router={"warm": "none"}, mutual={"weight": 0.5, "share": 0.5}, config={"clip": 0.125})
    assert {group.name: group.clip for group in built.team.groups} == {
        "ada": 0.125,
        "bob": 0.125,
        ":router": 1.0,
        ":mutual": 1.0,
    }
    batch = built.batch()
    report = training_step(batch, built.team, 0.25)
    assert report.losses["mutual"] > 0
    assert report.loss == pytest.approx(report.losses["imitate"] + 0.5 * report.losses["mutual"])
    rows = torch.from_numpy(batch.request.rows_B)
    lengths = torch.tensor([len(built.material.paths[row].lesson) for row in batch.request.rows])
    per_character = built.team.ledger.nll_NS[rows]
    known = ~report.nll_BS.isnan()
    assert torch.equal(known, ~per_character.isnan())
    torch.testing.assert_close((per_character * lengths[:, None])[known], report.nll_BS[known].double())
    rates = {group.name: group.optimizer.param_groups[0]["lr"] for group in built.team.groups}
    assert rates == {"ada": 3e-3 * 0.25, "bob": 3e-3 * 0.25, ":router": 5e-3, ":mutual": 1e-3}


def test_the_mutual_gradient_is_in_proportion_to_its_weight(stage: Callable[..., Any]) -> None:
    """Projectors learn from the weighted term only."""
    norms = {}
    for weight in (0.5, 2.0):
        built = stage(mutual={"weight": weight, "share": 0.5})
        group = next(group for group in built.team.groups if group.name == ":mutual")
        group.optimizer.step = lambda: None
        group.optimizer.zero_grad = lambda **_: None
        object.__setattr__(group, "clip", 1e9)
        training_step(built.batch(), built.team, 1.0)
        projector = built.method("hidden_agreement").mutual.projectors[0].weight
        norms[weight] = projector.grad.norm().item()
    assert norms[2.0] == pytest.approx(4 * norms[0.5], rel=1e-4)


def test_peer_losses_are_measured_without_gradient_only_where_asked(stage: Callable[..., Any]) -> None:
    reports = {}
    for mode in ("predicted", "fresh", "dense"):
        built = stage(router={"peer_loss": mode})
        reports[mode] = training_step(built.batch(), built.team, 1.0)
    known = {mode: ~report.nll_BS.isnan() for mode, report in reports.items()}
    chosen = reports["predicted"].gates.chosen_BS
    assert torch.equal(known["predicted"], chosen)
    assert known["fresh"].all()
    assert known["dense"].all()
    assert torch.equal(reports["fresh"].num_targets_BS > 0, chosen)  # learnt from: the routed ones only
    assert (reports["dense"].num_targets_BS > 0).all()
    # measuring peers must not change what the students learn
    assert reports["fresh"].losses["imitate"] == pytest.approx(reports["predicted"].losses["imitate"], rel=1e-5)


def test_dense_gates_weigh_every_students_gradient_by_its_probability(stage: Callable[..., Any]) -> None:
    built = stage(router={"peer_loss": "dense"}, config={"clip": 1e9})
    batch = built.batch()
    soft_B = built.method("routed_imitation").read(batch).gates.soft_BS.detach()[:, 0]
    found = gradients(built, [batch])
    student = built.student("ada")
    student.model.zero_grad()
    view = student.forward([batch.encoded(0, b) for b in range(len(batch.path_ids))])
    ((soft_B * view.nll_B).sum() / (soft_B * view.num_targets_B).sum()).backward()
    for index, parameter in enumerate(student.trainable_parameters()):
        torch.testing.assert_close(found[f"ada/{index}"], parameter.grad, rtol=1e-4, atol=1e-6)


def test_shared_paths_are_read_by_all_but_imitated_by_the_chosen_only(stage: Callable[..., Any]) -> None:
    built = stage(mutual={"weight": 0.5, "share": 0.5})
    batch = built.batch()
    report = training_step(batch, built.team, 1.0)
    shared = torch.zeros(len(batch.path_ids), dtype=torch.bool)
    shared[built.method("hidden_agreement").read(batch).compared] = True
    assert shared.sum() == 4
    assert torch.equal(~report.nll_BS.isnan(), report.gates.chosen_BS | shared[:, None])
    assert torch.equal(report.num_targets_BS > 0, report.gates.chosen_BS)


def test_a_frozen_student_is_measured_and_never_moves(stage: Callable[..., Any], student_configs: Any) -> None:
    ada, bob = student_configs
    built = stage(students=[ada, bob.model_copy(update={"frozen": True})], mutual={"weight": 0.5})
    before = built.weights()
    report = training_step(built.batch(), built.team, 1.0)
    after = built.weights()
    assert {group.name for group in built.team.groups} == {"ada", ":router", ":mutual"}
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("bob/"))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("ada/"))
    assert (~report.nll_BS[:, 1].isnan()).sum() >= report.gates.chosen_BS[:, 1].sum()


def test_a_loss_that_is_not_finite_names_step_student_and_paths(stage: Callable[..., Any]) -> None:
    built = stage(router={"kind": "all"})
    before = built.weights()
    batch = built.batch(3)
    with torch.no_grad():
        built.student("bob").model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 3: the loss of student bob .*train-"):
        training_step(batch, built.team, 1.0)
    after = built.weights()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("ada/"))


def test_a_gradient_that_is_not_finite_changes_no_weight(stage: Callable[..., Any]) -> None:
    built = stage(router={"kind": "all"})
    before = built.weights()
    next(iter(built.student("ada").model.parameters())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="gradient of ada"):
        training_step(built.batch(), built.team, 1.0)
    after = built.weights()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_memory_that_runs_out_is_one_message(
    stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: Exception, told: bool
) -> None:
    from qrdistill.training import train as loop

    built = stage()

    def exhausted(*args: Any) -> None:
        raise error

    monkeypatch.setattr(loop, "training_step", exhausted)
    with pytest.raises(TrainingError if told else RuntimeError) as caught:
        loop.guarded_step(built.batch(), built.team, 1.0)
    assert ("step 0: memory ran out with train.max_tokens_per_batch 4096; lower it" in str(caught.value)) == told


def test_half_precision_loses_no_small_gradient(stage: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """float16 has no number between 0 and 6e-8: without a scaled loss much of a gradient is exactly zero."""
    from qrdistill.training import step

    original = step.routed_nll
    monkeypatch.setattr(step, "routed_nll", lambda *given: 1e-5 * original(*given))  # as of a much larger step
    exact = stage(router={"kind": "all"})
    expected = gradients(exact, [exact.batch()])
    likeness = {}
    for scale in (step._FLOAT16_SCALE, 1.0):
        monkeypatch.setattr(step, "_FLOAT16_SCALE", scale)
        built = stage(router={"kind": "all"}, config={"autocast": "float16"})
        found = gradients(built, [built.batch()])
        likeness[scale] = [float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected]
    assert max(likeness[1024.0]) < 0.1
    assert min(likeness[1.0]) > 0.3


def test_three_students_share_one_pool(stage: Callable[..., Any], student_configs: list[StudentConfig]) -> None:
    third = student_configs[0].model_copy(update={"name": "cleo"})
    built = stage(students=[*student_configs, third], mutual={"weight": 0.1}, config={"paths_per_step": 16})
    report = training_step(built.batch(), built.team, 1.0)
    assert report.gates.hard_BS.shape == (16, 3)
    assert torch.equal(report.gates.chosen_BS.sum(1), torch.ones(16, dtype=torch.long))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning", "ignore:.*gradient_checkpointing")
def test_dropout_is_a_function_of_the_step_not_of_what_ran_before(
    stage: Callable[..., Any], student_configs: Any
) -> None:
    from qrdistill.students.config import LoraSettings

    adapted = [student.model_copy(update={"lora": LoraSettings(dropout=0.5)}) for student in student_configs]
    reports = []
    for draws in (1, 7):
        built = stage(students=adapted, router={"kind": "all"})
        torch.rand(draws)
        reports.append(training_step(built.batch(), built.team, 1.0))
        other = training_step(replace(built.batch(), request=replace(built.batch().request, step=1)), built.team, 0.0)
    assert torch.equal(reports[0].nll_BS, reports[1].nll_BS)
    assert not torch.equal(reports[0].nll_BS, other.nll_BS)


def test_a_path_with_a_fixed_destination_is_drawn_whatever_the_rule_says(stage: Callable[..., Any], pool: Any) -> None:
    """An own path in a style that the rule gives nobody still trains its writer."""
    own = next(path.id for path in pool[1] if path.style == "chain_of_thought")
    rule = {"kind": "best_style", "styles": {"ada": "program", "bob": "program"}}
    built = stage(router=rule, allowed={own: frozenset({"ada"})}, config={"steps": 20})
    drawn = {path for step in range(20) for path in built.batch(step).path_ids}
    assert own in drawn
    assert {built.material.paths[row].style for step in range(20) for row in built.batch(step).request.rows} == {
        "program",
        "chain_of_thought",
    }
    batch = next(built.batch(step) for step in range(20) if own in built.batch(step).path_ids)
    report = training_step(batch, built.team, 1.0)
    assert (report.num_targets_BS[list(batch.path_ids).index(own)] > 0).tolist() == [True, False]


def test_dynamic_fine_tuning_follows_the_probability_itself(stage: Callable[..., Any]) -> None:
    """p times the gradient of -log p is the gradient of -p; the reported NLL is that of any other loss."""
    plain, dynamic = (stage(router={"kind": "all"}, config={"loss": loss}) for loss in ("nll", "dft"))
    batch = dynamic.batch()
    student = plain.student("ada")
    s = [one.name for one in plain.team.students].index("ada")
    view = student.forward([batch.encoded(s, b) for b in range(len(batch.path_ids))])
    targets = sum(batch.encoded(s, b).num_targets for b in range(len(batch.path_ids)))
    (-sum((-nll_T).exp().sum() for nll_T in view.token_nll) / targets).backward()
    expected = {name: weight.grad.clone() for name, weight in student.model.named_parameters()}

    found: dict[str, torch.Tensor] = {}
    for name, weight in dynamic.student("ada").model.named_parameters():
        weight.register_post_accumulate_grad_hook(lambda w, name=name: found.update({name: w.grad.clone()}))
    report = training_step(batch, dynamic.team, 0.0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-7)
    expected_nll = training_step(plain.batch(), plain.team, 0.0).nll_BS
    torch.testing.assert_close(report.nll_BS, expected_nll)


def test_paths_over_the_limit_are_kept_out_and_counted(
    stage: Callable[..., Any], train_run: Callable[..., Any]
) -> None:
    material = stage().material
    lengths = [max(material.encoded(s, row, True).num_targets for s in (0, 1)) for row in range(len(material.paths))]
    cap = sorted(lengths)[len(lengths) // 2]
    capped, _, told = train_run("capped", config={"steps": 1, "max_path_tokens": cap})
    assert 0 < capped.paths == sum(length <= cap for length in lengths) < len(lengths)
    assert sum(capped.kept_out.values()) == len(lengths) - capped.paths
    assert any("over_limit: it is longer than train.max_path_tokens" in warning for warning in told.warnings)
