"""Optimizers and their state, cost plan, trackers, micro-batch plans, the journal's parts."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.base.errors import InputError
from qrdistill.base.records import Assignment
from qrdistill.base.store import read_table
from qrdistill.routing.config import RouterConfig
from qrdistill.runs.outlook.estimate import cost_plan
from qrdistill.students.config import StudentConfig
from qrdistill.students.tokens import Encoded
from qrdistill.training.config import MutualConfig, TrainConfig
from qrdistill.training.micro_batches import share_out
from qrdistill.training.optimizers import Group, student_optimizer
from qrdistill.training.saved.journal import Journal
from qrdistill.training.saved.tracking import tracking


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit"])
def test_optimizer_state_travels_without_pickle(kind: Any, tmp_path: Path) -> None:
    """Going on from the state on disk equals never having stopped, 8-bit moments included."""
    import json

    from safetensors.torch import load_file, save_file

    config = StudentConfig(name="a", model="m", optimizer=kind, learning_rate=0.01, weight_decay=0.1)
    target = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))

    def build() -> tuple[torch.nn.Parameter, Group]:
        parameter = torch.nn.Parameter(torch.zeros(64, 96))
        return parameter, Group("a", student_optimizer([parameter], config), 0.01, True, 1.0)

    def go(parameter: torch.nn.Parameter, group: Group, steps: int) -> None:
        for _ in range(steps):
            group.optimizer.zero_grad()
            (parameter - target).square().sum().backward()
            assert group.gradient_norm() is not None
            group.step(0.5)

    whole, group = build()
    go(whole, group, 6)
    first, group = build()
    go(first, group, 3)
    tensors, plain = group.state()
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "state.safetensors")
    second, resumed = build()
    second.data.copy_(first.data)
    resumed.load_state(load_file(tmp_path / "state.safetensors"), json.loads(json.dumps(plain)))
    go(second, resumed, 3)
    assert torch.equal(second, whole)
    assert not torch.equal(second, first)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith(("bitsandbytes", "wandb")):
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'qrdistill\[qlora\]'"):
        student_optimizer([], StudentConfig(name="a", model="m", optimizer="adamw_8bit"))
    with (
        pytest.raises(InputError, match=r"pip install 'qrdistill\[trackio\]'"),
        tracking(["trackio"], tmp_path),
    ):
        pass


def test_clipping_bounds_the_norm_and_reports_it_before() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    group = Group("a", torch.optim.SGD([parameter], lr=1.0), 1.0, True, 0.5)
    assert group.gradient_norm() is None
    parameter.grad = torch.tensor([3.0, 4.0, 0.0, 0.0])
    assert group.gradient_norm() == pytest.approx(5.0)
    assert parameter.grad.norm().item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_holds_every_figure(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracking(["tensorboard"], tmp_path) as log:
        log({"loss": 0.5, "share": {"a": 0.25}, "staleness": None}, 0)
        log({"loss": 0.4, "share": {"a": 0.75}, "staleness": 2.0}, 1)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "share/a", "staleness"]
    assert [(event.step, round(event.value, 4)) for event in events.Scalars("loss")] == [(0, 0.5), (1, 0.4)]


@pytest.mark.parametrize(
    ("router", "mutual", "ratio"),
    [
        ({}, 0.0, 1 + 64 / (3 * 400)),  # the sample that is measured first
        ({"warm": "pool"}, 0.0, 1 + 100 / (3 * 400)),
        ({"warm": "none"}, 0.0, 1.0),
        ({"warm": "none"}, 0.1, 1.25),  # half the paths, and half of the quarter that all read
        ({"peer_loss": "fresh", "warm": "none"}, 0.0, 1 + 1 / 3),
        ({"peer_loss": "dense", "warm": "none"}, 0.0, 1.0),
        ({"kind": "all"}, 0.0, 1.0),
        ({"kind": "fixed_loss"}, 0.0, 1 + 100 / (3 * 400)),
    ],
)
def test_planned_cost_per_option(router: dict[str, Any], mutual: float, ratio: float) -> None:
    students = [StudentConfig(name=name, model="m") for name in ("a", "b")]
    rows = cost_plan(
        students,
        RouterConfig(**router),
        MutualConfig(weight=mutual),
        TrainConfig(steps=100, paths_per_step=8),
        num_paths=100,
        lengths=[100, 100],
    )
    for row in rows:
        assert row.ratio == pytest.approx(ratio)
        assert row.equivalents == 3 * row.trained + row.measured
    whole = router.get("kind") == "all" or router.get("peer_loss") == "dense"
    assert rows[0].trained == pytest.approx(100 * 8 * 100 * (1.0 if whole else 0.5 + 0.5 * 0.25 * (mutual > 0)))


class Splitter:
    """Cuts as a student does: in order, up to the limit."""

    def split(self, encoded: list[Encoded], max_tokens: int, *, shared_prefix: bool) -> list[list[int]]:
        parts: list[list[int]] = []
        for index, path in enumerate(encoded):
            if parts and sum(encoded[i].num_tokens for i in parts[-1]) + path.num_tokens <= max_tokens:
                parts[-1].append(index)
            else:
                parts.append([index])
        return parts


@pytest.mark.parametrize("max_tokens", [25, 60, 10_000])
def test_every_pair_is_read_once_within_the_limit(max_tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    train_BS = torch.rand(16, 3, generator=generator) < 0.4
    peek_BS = ~train_BS
    shared = [3, 7, 11]

    def encoded(s: int, b: int) -> Encoded:
        return Encoded((1, 2), tuple(range(4 + (b + s) % 3)), [])

    works = share_out(
        train_BS,
        peek_BS,
        shared,
        encoded,
        [Splitter()] * 3,
        max_tokens=max_tokens,
        shared_prefix=True,  # type: ignore[list-item]
    )
    trained = [(b, s) for work in works if work.train for s, paths in work.reads.items() for b in paths]
    measured = [(b, s) for work in works if not work.train for s, paths in work.reads.items() for b in paths]
    wanted = {(b, s) for b in range(16) for s in range(3) if train_BS[b, s] or b in shared}
    assert len(trained) == len(set(trained))
    assert set(trained) == wanted
    assert sorted(measured) == sorted({(b, s) for b in range(16) for s in range(3)} - wanted)
    for work in works:
        tokens = sum(encoded(s, b).num_tokens for s, paths in work.reads.items() for b in paths)
        assert tokens <= max_tokens or max(len(paths) for paths in work.reads.values()) == 1
        for paths in work.reads.values():
            assert paths[: len(work.shared)] == work.shared
    if max_tokens == 10_000:
        assert sum(work.train for work in works) == 1


def row(step: int) -> Assignment:
    return Assignment(step=step, path_id="p", student="a", probability=1.0, chosen=True, nll=0.5, nll_step=step)


def test_the_journal_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with Journal(tmp_path, step=0) as journal:
        for step in range(4):
            journal.write({"step": step}, [row(step)])
            if step % 2:
                journal.checkpoint(step + 1)
    with Journal(tmp_path, step=2) as journal:  # the checkpoint at 4 was not saved
        for step in range(2, 5):
            journal.write({"step": step}, [row(step)])
        journal.checkpoint(5)
        assert journal.finish(tmp_path / "assignments.parquet") == 5
    assert [entry.step for entry in read_table(tmp_path / "assignments.parquet", Assignment)] == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(f'{{"step": {step}}}\n' for step in range(5))


def test_signals_are_a_flag_and_the_second_one_acts() -> None:
    import os
    import signal

    from qrdistill.base.stop_signals import stopping

    # a background job of a shell starts with SIGINT ignored: the test must not depend on that
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    before: Callable[..., Any] | int | None = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stopping() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)
    ended_well = False
    with pytest.raises(KeyboardInterrupt), stopping():  # a signal that nobody looked at is not lost
        os.kill(os.getpid(), signal.SIGINT)
        ended_well = True
    assert ended_well
    assert signal.getsignal(signal.SIGINT) == before
    signal.signal(signal.SIGINT, inherited)
