"""At the end of a training, what it held and did not use is named; an ordinary one names nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from qrdistill.routing.learning_state import LearningState
from qrdistill.routing.loss_ledger import Ledger
from qrdistill.students.config import LoraSettings
from qrdistill.training import train as training
from qrdistill.training.method import Method, Reading, Setting, StepBatch, Term
from qrdistill.training.optimizers import companion


class Half(Method):
    """Everyone reads everything; of two parameters of its own, one is used."""

    name = "half"

    def __init__(self, setting: Setting) -> None:
        self.used, self.spare = torch.nn.Parameter(torch.zeros(())), torch.nn.Parameter(torch.ones(3))

    def read(self, batch: StepBatch) -> Reading:
        return Reading(torch.ones(batch.pinned_BS.shape))

    def settle(self, batch: StepBatch, reading: Reading) -> Sequence[Term]:
        return (Term("half", (self.used - 1).square() + 0.0 * self.spare.sum()),)

    def groups(self) -> Any:
        return [companion("half", [self.used, self.spare], 0.1)]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"used": self.used, "spare": self.spare}

    def load_state_dict(self, state: Any) -> None:
        self.used.data.copy_(state["used"])
        self.spare.data.copy_(state["spare"])


@pytest.mark.filterwarnings("ignore")  # peft's own
def test_adapters_and_all_weights_move_in_two_steps(train_run: Callable[..., Any], student_configs: Any) -> None:
    """A is without a gradient in its first step, rows of unseen words stay, embeddings may be tied: none is dead."""
    ada, bob = student_configs
    adapted = ada.model_copy(update={"lora": LoraSettings(rank=2)})
    _, _, told = train_run("run", students=[adapted, bob], router={"kind": "all"}, config={"steps": 2})
    assert told.warnings == []


def test_tensors_that_never_moved_are_named_over_a_kill_too(
    train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What moved before a kill moved, what did not is named after it."""
    loaded = training.load_students

    def with_a_spare(*args: Any) -> Any:
        students = loaded(*args)
        for name in "abcde":
            students[0].model.register_parameter(f"spare_{name}", torch.nn.Parameter(torch.ones(2)))
        return students

    class Cut(Exception):
        pass

    def go(cut_at: int) -> Any:
        class Halves(Half):
            def finish(self, batch: StepBatch, reading: Reading) -> str | None:
                if batch.request.step == cut_at:
                    raise Cut
                return None

        return train_run("run", methods=[Halves], config={"steps": 5, "schedule": "linear"})

    monkeypatch.setattr(training, "load_students", with_a_spare)
    with pytest.raises(Cut):
        go(4)
    result, _, told = go(9)
    (warning,) = told.warnings
    assert result.warnings == told.warnings
    assert "of ada (spare_a, spare_b, spare_c and 2 more); 1 of 2 of half (spare)." in warning
    assert "bob" not in warning


def test_a_student_that_reads_nothing_is_named_whole(train_run: Callable[..., Any]) -> None:
    students = {"chain_of_thought": "ada", "program": "ada"}
    _, _, told = train_run("run", router={"kind": "style", "styles": students}, mutual={"weight": 0.0})
    (warning,) = told.warnings
    assert "tensors that train and never moved: all " in warning
    assert " of bob. No gradient" in warning


def test_a_mutual_loss_that_is_never_computed_is_named(train_run: Callable[..., Any], pool: Any) -> None:
    """Every path has a fixed destination, so none is read by all students."""
    _, paths, _ = pool
    own = {path.id: frozenset({"ada", "bob"}) for path in paths}
    _, _, told = train_run("run", allowed=own, router={"kind": "all"}, config={"steps": 2})
    (warning,) = told.warnings
    assert warning.startswith("tensors that train and never moved: all 10 of mutual. ")


def test_constant_features_are_named(train_run: Callable[..., Any], pool: Any) -> None:
    _, _, embeddings = pool
    before = embeddings.copy()
    try:
        embeddings[:, 2:4] = [0.0, 7.0]
        _, _, told = train_run("run")
    finally:
        embeddings[:] = before
    (warning,) = told.warnings
    assert "2 of the 6 numbers of the embedding are the same for all paths" in warning


def test_a_learning_state_that_tells_no_path_from_another_is_constant() -> None:
    features_NF = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    state = LearningState(Ledger(6, ("a", "b")), features_NF, ["x"] * 6)
    assert state.constant() == ["a", "b"]
    unknown = torch.full((6,), torch.nan)
    state.start(range(6), torch.stack([torch.arange(6.0), unknown], 1).double())
    assert state.constant() == ["b"]


def test_options_without_effect_are_named(train_run: Callable[..., Any], student_configs: Any, pool: Any) -> None:
    _, paths, _ = pool
    config = {
        "eval_every": 50,
        "warmup": 7,
        "style_dropout": 0.5,
        "shared_prefix": True,
        "patience": 3,
        "methods": ["routed_imitation"],
        "mesh": {"cpu_offload": True},
    }
    one_each = [path.model_copy(update={"style": "own"}) for path in paths if path.style == "program"]
    _, _, told = train_run("run", paths=one_each, config=config, router={"kind": "all", "entropy": 0.5})
    (warning,) = told.warnings
    named = [part.split(" (")[0].removeprefix("options without effect: ") for part in warning.split("; ")]
    assert named == [
        "train.eval_every 50",
        "train.schedule",
        "train.style_dropout",
        "train.shared_prefix",
        "train.mesh.cpu_offload",
        "mutual.weight",
        "router.entropy",
    ]
    _, _, told = train_run("two", config={"patience": 3, "eval_questions": 9}, router={"kind": "all"})
    (warning,) = told.warnings
    assert "train.patience (it counts" in warning
    assert "train.eval_questions (train.eval_every is not set)" in warning


def test_options_with_effect_are_not(train_run: Callable[..., Any]) -> None:
    config = {"warmup": 6, "style_dropout": 0.5, "shared_prefix": True, "methods": []}
    _, _, told = train_run("run", config=config, router={"entropy": 0.1})
    assert told.warnings == []
