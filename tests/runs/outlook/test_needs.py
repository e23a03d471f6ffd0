"""What a training takes, told before it; and the settings under which one fits that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qrdistill.runs.outlook.estimate import CostRow
from qrdistill.runs.outlook.lengths import Lengths, measure_lengths
from qrdistill.runs.outlook.needs import Needs, training_needs
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import TrainConfig


def needs(model: str, base: Path, *, memory: int | None = None, steps: int = 10) -> Needs:
    config = TrainConfig(steps=steps, paths_per_step=4, device="cpu", gradient_checkpointing=False)
    students, lengths = [StudentConfig(name="a", model=model)], [Lengths(40, 60)]
    rows = [CostRow("a", trained=4000 * steps, measured=0, equivalents=0, ratio=1.0)]
    return training_needs(students, config, rows, lengths, num_paths=40, base_dir=base, memory=memory, timed=False)


@pytest.mark.parametrize(("steps", "warned"), [(100, False), (101, True)])
def test_more_than_ten_passes_are_warned_about(tmp_path: Path, steps: int, warned: bool) -> None:
    plan = needs("some/hub-id", tmp_path, steps=steps)
    assert (plan.passes, plan.seconds, plan.unknown) == (pytest.approx(steps / 10), None, ["a"])
    warning = plan.warning(steps)
    assert (warning is not None) == warned
    assert not warned or "ten passes: 100" in str(warning)


def test_what_does_not_fit_is_refused_with_what_would(tiny_student_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = str(tiny_student_folder("llama"))
    plan = needs(folder, tmp_path)
    assert (plan.problem, list(plan.stages), list(plan.exports)) == ("", ["load", "train", "evaluate"], ["a"])
    assert (
        "it fits with train.gradient_checkpointing: true"
        in needs(folder, tmp_path, memory=plan.stages["train"] - (8 << 20)).problem
    )
    assert (
        "of memory at its peak, the machine has 1 MiB; no setting fits"
        in needs(folder, tmp_path, memory=1 << 20).problem
    )
    full = replace(plan, disk=plan.disk_here + 1)
    assert "lower train.keep_last" in full.problem


def test_lengths_are_those_of_the_student_s_own_tokenizer(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    student = StudentConfig(name="a", model=str(tiny_student_folder("llama")))
    guess = Lengths(1, 2)
    found = measure_lengths(student, tmp_path, [("Ann has 3 apples.\n", "3 + 4 = 7"), ("2 + 2?\n", "4")], guess)
    assert found.basis.startswith("2 of the paths")
    assert 0 < found.path < found.prompt
    assert measure_lengths(student, tmp_path, [], guess) is guess
