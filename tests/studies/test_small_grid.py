"""A tiny grid of real runs, end to end: what is shared is computed once, and the studies can read it."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from qrdistill.base.errors import QRDistillError
from qrdistill.base.progress import Silent
from qrdistill.report.study_results import Outcome
from qrdistill.runs.config import Config
from qrdistill.studies.grid.arms import Arm
from qrdistill.studies.grid.outcomes import compare
from qrdistill.studies.grid.study import Setup, Variant, run_arms
from qrdistill.studies.measures import filter_reliability as reliability
from qrdistill.studies.measures.routing_records import read_routing
from qrdistill.studies.measures.student_similarity import FILE, final_agreement, over_training, probes

pytestmark = pytest.mark.slow

CONFIG = Config.model_validate(
    {
        "questions": {"train": 12, "dev": 4, "test": 4},
        "paths": {"styles": ["vanilla", "program"]},
        "train": {
            "steps": 3,
            "paths_per_step": 6,
            "warmup": 1,
            "checkpoint_every": 1,
            "keep_last": 9,
            "keep_finished": True,
        },
        "evaluate": {"max_tokens": 30, "vote": False},
    }
)
ARMS = [
    Arm("learned", "learned routing", "part", {"router.kind": "learned", "mutual.weight": 0.2}),
    Arm("random", "random routing", "baseline", {"router.kind": "random"}),
]
VARIANT = Variant("even", "even teacher")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setup, dict[str, list[Outcome]]]:
    setup = Setup(CONFIG, tmp_path_factory.mktemp("study"), Silent(), seeds=(0,), workers=2)
    return setup, run_arms(setup, VARIANT, ARMS)


def stages(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "manifest.json").read_text())["stages"]


def test_shared_stages_are_computed_once(grid: tuple[Setup, dict[str, list[Outcome]]]) -> None:
    learned, random = (stages(grid[0].folder / f"even.{arm.name}.s0") for arm in ARMS)
    for name in ("load", "generate", "filter"):
        taken = ["taken_from" in manifest[name] for manifest in (learned, random)]
        assert sorted(taken) == [False, True], name
        assert learned[name]["key"] == random[name]["key"]
    for name in ("train", "evaluate"):
        assert "taken_from" not in learned[name]
        assert "taken_from" not in random[name]
    assert "embed" in learned
    assert "embed" not in random  # only a learned router reads embeddings
    same = [(grid[0].folder / f"even.{arm.name}.s0/paths.parquet").stat().st_ino for arm in ARMS]
    assert same[0] == same[1]  # a link, not a copy


def test_a_second_call_runs_nothing(grid: tuple[Setup, dict[str, list[Outcome]]]) -> None:
    setup, outcomes = grid

    def state() -> dict[str, int]:
        return {
            str(file): file.stat().st_mtime_ns
            for file in setup.folder.rglob("*")
            if file.is_file()
            and file.name not in ("config.yaml", "diversity.json")
            and not file.name.startswith(".")
            and ".locks" not in file.parts
        }

    before = state()
    assert any(name.endswith("scores.json") for name in before)
    assert run_arms(setup, VARIANT, ARMS) == outcomes
    assert state() == before


class Kills(Silent):
    """Kills a worker that trains, in the middle of a study."""

    killed = 0

    def advance(self, steps: int = 1, **facts: object) -> None:
        if "train" in facts.values() and not self.killed:
            next(child for child in multiprocessing.active_children() if child.name == "grid worker").kill()
            self.killed += 1


def test_a_study_whose_worker_is_killed_ends_with_the_same_tables(
    grid: tuple[Setup, dict[str, list[Outcome]]], tmp_path: Path
) -> None:
    setup = replace(grid[0], folder=tmp_path, progress=Kills())
    with pytest.raises(QRDistillError, match="its process died .SIGKILL.*; the same command goes on"):
        run_arms(setup, VARIANT, ARMS)
    run_arms(setup, VARIANT, ARMS)
    names = ("*.parquet", "scores.json", "*.safetensors")
    files = [file for name in names for file in grid[0].folder.rglob(name) if "checkpoints" not in file.parts]
    assert len(files) > 12
    for file in files:
        other = tmp_path / file.relative_to(grid[0].folder)
        assert other.read_bytes() == file.read_bytes(), file


def test_outcomes_are_the_runs_own_figures(grid: tuple[Setup, dict[str, list[Outcome]]]) -> None:
    setup, outcomes = grid
    (learned,) = outcomes["learned"]
    scores = json.loads((setup.folder / "even.learned.s0/scores.json").read_text())
    styled = {row["student"]: row["styled"]["accuracy"] for row in scores["headlines"] if not row["base"]}
    assert learned.styled == styled
    assert set(learned.tokens) == {"mistral", "gemma"}
    assert learned.equivalents == 3 * sum(learned.tokens.values())
    found = compare(outcomes["learned"], outcomes["random"])
    assert found is not None
    assert found.claim == 0  # one seed
    assert found.over in ("questions", None)
    # what each student got right, question by question, adds up to its accuracy
    for mode, accuracies in (("styled", learned.styled), ("free", learned.free)):
        assert {name: line.count("1") / 4 for name, line in learned.right[mode].items()} == accuracies


def test_a_run_s_routing_can_be_read(grid: tuple[Setup, dict[str, list[Outcome]]]) -> None:
    found = read_routing(grid[0].folder / "even.learned.s0")
    assert found.edges == [0, 1, 2, 3]
    assert set(found.share) == {"mistral", "gemma"}
    for place in range(3):
        assert sum(shares[place] for shares in found.share.values()) == pytest.approx(1.0)
    assert 0 < found.late["style"].n <= 18
    assert set(found.cells["style"]["gemma"]) == {"vanilla", "program"}
    assert isinstance(found.verdict, str)


def test_similarity_is_measured_at_every_checkpoint_and_kept(
    grid: tuple[Setup, dict[str, list[Outcome]]],
) -> None:
    folder = grid[0].folder / "even.learned.s0"
    read = probes(grid[0].folder / "even.random.s0")
    assert read
    prompted = {"mistral": "vanilla", "gemma": "program"}
    points = over_training(folder, read, prompted)
    assert [point.step for point in points] == [0, 1, 2, 3]
    assert all(point.spans >= len(read) and point.questions == 4 for point in points)
    assert all(0 < point.cka <= 1.01 for point in points)
    assert len({point.cka for point in points}) == 4  # each checkpoint's own weights were looked at
    file = folder / FILE
    begun = file.stat().st_mtime_ns
    assert over_training(folder, read, prompted) == points
    assert file.stat().st_mtime_ns == begun
    assert over_training(folder, read[:1], prompted) != points


def test_the_last_checkpoint_is_the_exported_student(
    grid: tuple[Setup, dict[str, list[Outcome]]],
) -> None:
    from qrdistill.runs.run import Run
    from qrdistill.students.loading import load_student
    from qrdistill.training.saved.checkpoint import list_checkpoints, restore_students

    folder = grid[0].folder / "even.learned.s0"
    config = Run(folder).config.students[0]
    student = load_student(config, base_dir=folder)
    untrained = [value.detach().clone() for value in student.trainable_parameters()]
    restore_students(list_checkpoints(folder / "checkpoints")[-1], [student])
    exported = load_student(
        config.model_copy(update={"model": str(folder / "students" / config.name)}), base_dir=folder
    )
    pairs = list(zip(student.trainable_parameters(), exported.trainable_parameters(), strict=True))
    # what leaves has the precision that the base model came in
    assert all(bool((a.half().float() == b).all()) for a, b in pairs)
    assert any(bool((a != b).any()) for a, b in zip(untrained, student.trainable_parameters(), strict=True))


def test_final_agreement_counts_the_exported_students_answers(
    grid: tuple[Setup, dict[str, list[Outcome]]],
) -> None:
    found = final_agreement(grid[0].folder / "even.random.s0")
    assert found.n == 4
    assert 0 <= found.agreement <= 1
    assert 0 <= found.both_wrong <= 1
    (outcome,) = grid[1]["random"]
    if all(value == 1 for value in outcome.styled.values()):
        assert (found.agreement, found.both_wrong) == (1.0, 0.0)
        assert found.same_mistake is None


def test_the_filter_is_measured_against_what_the_lab_planted(
    grid: tuple[Setup, dict[str, list[Outcome]]],
) -> None:
    folders = {0: grid[0].folder / "even.random.s0"}
    truth = {0: reliability.known_truth(folders.values())}
    assert len(truth[0]) == 24
    figures = reliability.reliabilities(reliability.evidence(folders, truth))
    assert figures["answer"].precision.estimate == figures["answer"].recall.estimate == 1.0
    assert figures["filter"].n == 24
    assert figures["filter"].recall.estimate == 1.0  # the rule judge drops no sound path
    left = reliability.pruning(folders)
    assert left.kept.n == 24
    assert round(left.kept.estimate * 24) == figures["filter"].kept
    shown = reliability.rejected(folders[0], truth[0])
    assert len(shown) > 0
    assert all(one.label != "sound" for one in shown)
    assert reliability.answer_audit(folders[0]).n > 0
