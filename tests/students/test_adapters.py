"""Adapters on one base: one copy of its weights, and every number that students with bases of their own would have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from qrdistill.students.adapters import Bases
from qrdistill.students.config import LoraSettings, StudentConfig
from qrdistill.students.decode.decode import decode
from qrdistill.students.export import export_student
from qrdistill.students.loading import load_student, recompute_activations
from qrdistill.students.packing.mixed import Mix, Read, mixes
from qrdistill.students.student import Student
from qrdistill.training.optimizers import student_optimizer

PATHS = [("Ann has 3 apples.\n", "3 + 4 = 7"), ("Ann has 3 apples.\n", "7 apples."), ("x - 5 = 12\n", "x = 17")]
RANKS = {"ada": LoraSettings(rank=2, dropout=0.2), "bob": LoraSettings(rank=4, targets=["q_proj"], dropout=0.1)}
THREE = {**RANKS, "eve": LoraSettings(rank=8, dora=True, dropout=0.0)}


def load(folder: Path, kinds: dict[str, LoraSettings], bases: Bases | None, **options: Any) -> list[Student]:
    return [
        load_student(
            StudentConfig(name=name, model=str(folder), lora=lora, **options), base_dir=Path("/"), seed=at, bases=bases
        )
        for at, (name, lora) in enumerate(kinds.items())
    ]


def resident(students: Sequence[Student]) -> int:
    """Bytes of all parameters, those that students share counted once."""
    tensors = {one.data_ptr(): one.numel() * one.element_size() for s in students for one in s.model.parameters()}
    return sum(tensors.values())


def steps(students: Sequence[Student], count: int = 2, mix: Mix | None = None) -> list[list[torch.Tensor]]:
    """Losses, gradients and trained weights of joint steps, each student with its own dropout; their forwards in turn,
    or those that a mix reads in one."""
    optimizers = [student_optimizer(student.trainable_parameters(), student.config) for student in students]
    found: list[list[torch.Tensor]] = [[] for _ in students]
    for step in range(count):
        reads = [
            Read(student, [student.encode(*path) for path in PATHS[s:]], [1.0, 0.5, 2.0][s:], 100 * s + step)
            for s, student in enumerate(students)
        ]
        together = [s for s, student in enumerate(students) if mix and student in mix.students]
        views = dict(zip(together, mix.forward([reads[s] for s in together], hidden=True), strict=True)) if mix else {}
        for s, student in enumerate(students):
            student.model.train()
            if s not in views:
                torch.manual_seed(reads[s].seed)
                views[s] = student.forward(reads[s].encoded, learnt=reads[s].learnt, hidden=True)
        for s, student in enumerate(students):
            (views[s].nll_B * torch.tensor(reads[s].learnt)).sum().backward(retain_graph=s in together)
            found[s] += [
                views[s].nll_B.detach(),
                *(state.detach() for state in views[s].hidden or ()),
                *(one.grad.clone() for one in student.trainable_parameters() if one.grad is not None),
            ]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for s, student in enumerate(students):
        found[s] += [one.detach().clone() for one in student.trainable_parameters()]
    return found


@pytest.mark.parametrize(
    ("family", "kinds", "options"),
    [("llama", RANKS, {}), ("gemma2", THREE, {}), ("llama", RANKS, {"quantize": "nf4"})],
    ids=["two", "three", "nf4"],
)
def test_losses_gradients_and_weights_are_bit_for_bit_those_of_separate_models(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, family: str, kinds: dict[str, LoraSettings], options: Any
) -> None:
    folder = tiny_student_folder(family)
    apart, together = load(folder, kinds, None, **options), load(folder, kinds, Bases(), **options)
    for one, other in zip(steps(apart), steps(together), strict=True):
        assert len(one) == len(other) > 2
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    base = resident(apart[:1]) - sum(one.numel() * 4 for one in apart[0].trainable_parameters())
    assert resident(apart) - resident(together) == (len(kinds) - 1) * base
    for one, other in zip(apart, together, strict=True):
        texts = [decode(student, [PATHS[0][0]], max_tokens=6)[0][0] for student in (one, other)]
        assert texts[0] == texts[1]
        for merge in (False, True):
            folders = [
                export_student(each, tmp_path / f"{n}-{merge}-{each.name}", merge=merge)
                for n, each in enumerate((one, other))
            ]
            weights = "model.safetensors" if merge else "adapter_model.safetensors"
            assert len({(each / weights).read_bytes() for each in folders}) == 1


@pytest.mark.parametrize(
    ("family", "kinds", "options"),
    [("llama", RANKS, {}), ("gemma2", THREE, {}), ("llama", RANKS, {"quantize": "nf4"})],
    ids=["two", "beside-dora", "nf4"],
)
def test_one_forward_for_all_gives_what_a_forward_each_does(
    tiny_student_folder: Callable[..., Path], family: str, kinds: dict[str, LoraSettings], options: Any
) -> None:
    folder = tiny_student_folder(family)
    apart, together = (load(folder, kinds, Bases(), **options) for _ in range(2))
    for student in (*apart, *together):  # an adapter starts at zero, and would change nothing
        torch.manual_seed(len(student.name))
        for one in student.trainable_parameters():
            torch.nn.init.normal_(one, std=0.2)
    [mix] = mixes(together)
    assert [student.name for student in mix.students] == ["ada", "bob"]  # what DoRA adds is not in the one forward
    for one, other in zip(steps(apart), steps(together, mix=mix), strict=True):
        assert len(one) == len(other) > 2
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(one, other, strict=True))


def test_who_is_not_like_the_others_is_read_alone(tiny_student_folder: Callable[..., Path]) -> None:
    two = load(folder := tiny_student_folder("llama"), RANKS, Bases())
    assert len(mixes(two)) == 1
    assert not mixes([two[0], *load(folder, RANKS, Bases())[1:]])  # another copy of the base
    assert not mixes(load(folder, RANKS, None))
    recompute_activations(two[0].model)
    assert not mixes(two)
    assert not mixes(load(folder, RANKS, Bases(), frozen=True))


def test_what_one_student_does_is_not_seen_by_the_others(tiny_student_folder: Callable[..., Path]) -> None:
    first, second = load(tiny_student_folder("llama"), RANKS, bases := Bases())
    recompute_activations(first.model)
    first.model.eval()
    first.core.config.use_cache = False
    assert second.model.training
    saving = [any(getattr(one, "gradient_checkpointing", False) for one in s.model.modules()) for s in (first, second)]
    assert saving == [True, False]
    frozen = load_student(StudentConfig(name="cat", model=first.source, frozen=True), base_dir=Path("/"), bases=bases)
    assert resident([first, frozen]) == resident([first])
    full = load_student(StudentConfig(name="dan", model=first.source), base_dir=Path("/"), bases=bases)
    assert all(one.requires_grad for one in full.model.parameters())
    assert not any(one.requires_grad for one in frozen.model.parameters())
    assert resident([first, full]) > 1.9 * resident([first])  # it trains what others rely on, so it has its own


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers by that name
def test_adapters_name_their_base_so_that_any_place_finds_it(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import AutoPeftModelForCausalLM

    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_student_folder("llama"), "models/base")
    config = StudentConfig(name="ada", model="models/base", lora=LoraSettings(rank=2))
    first = export_student(load_student(config, base_dir=Path()), Path("first"))
    settings = json.loads((first / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(tmp_path / "models/base")
    for written, moved in (
        ("models/base", "by-peft"),
        ("../models/base", "by-hand"),
    ):  # relative to here, to the folder
        (first / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": written}))
        again = load_student(StudentConfig(name="ada", model="first"), base_dir=Path())
        folder = export_student(again, tmp_path / "far/away" / moved)
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            AutoPeftModelForCausalLM.from_pretrained(folder)
            load_student(StudentConfig(name="ada", model=str(folder)), base_dir=Path())
