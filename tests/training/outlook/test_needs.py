"""What a training takes, told before it; and the settings under which one fits that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qrdistill.students.config import StudentConfig
from qrdistill.training.config import TrainConfig
from qrdistill.training.outlook.estimate import CostRow
from qrdistill.training.outlook.lengths import Lengths, measure_lengths
from qrdistill.training.outlook.needs import Needs, training_needs

ROW = CostRow("a", trained=20_000, measured=0, equivalents=60_000, ratio=1.0)


def needs(model: str, base: Path, *, memory: int | None = None, steps: int = 10) -> Needs:
    config = TrainConfig(steps=steps, paths_per_step=4, device="cpu", gradient_checkpointing=False)
    students, lengths = [StudentConfig(name="a", model=model)], [Lengths(40, 60)]
    return training_needs(students, config, [ROW], lengths, num_paths=40, base_dir=base, memory=memory)


@pytest.mark.parametrize(("steps", "warned"), [(100, False), (101, True)])
def test_more_than_ten_passes_are_warned_about(tmp_path: Path, steps: int, warned: bool) -> None:
    plan = needs("some/hub-id", tmp_path, steps=steps)
    assert (plan.passes, plan.seconds, plan.unknown) == (pytest.approx(steps / 10), None, ["a"])
    warning = plan.warning(steps)
    assert (warning is not None) == warned
    assert not warned or "ten passes: 100" in str(warning)


def test_what_does_not_fit_is_refused_with_what_would(
    tiny_student_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = str(tiny_student_folder("llama"))
    plan = needs(folder, tmp_path)
    assert (plan.problem, list(plan.stages), list(plan.exports)) == ("", ["train", "evaluate"], ["a"])
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert list((tmp_path / "qrdistill/rates").glob("*.json")), "a machine is measured once"
    assert "no setting fits" in needs(folder, tmp_path, memory=1 << 20).problem


def test_lengths_are_those_of_the_student_s_own_tokenizer(
    tiny_student_folder: Callable[..., Path], tmp_path: Path
) -> None:
    student = StudentConfig(name="a", model=str(tiny_student_folder("llama")))
    guess = Lengths(1, 2)
    found = measure_lengths(student, tmp_path, [("Ann has 3 apples.\n", "3 + 4 = 7"), ("2 + 2?\n", "4")], guess)
    assert found.basis.startswith("2 of the paths")
    assert 0 < found.path < found.prompt
    assert measure_lengths(student, tmp_path, [], guess) is guess
