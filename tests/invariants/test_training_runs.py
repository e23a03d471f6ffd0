"""What must hold of whole training runs: repeat, permute, resume, golden curve, bad input."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import call, python
from safetensors.torch import load_file

from qrdistill.base.errors import InputError, Interrupted, TrainingError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Assignment
from qrdistill.base.store import content_hash, read_table, sweep
from qrdistill.paths.styles import STYLES
from qrdistill.students.best_style import StyleTrial
from qrdistill.students.config import StudentConfig
from qrdistill.training.assemble import assemble
from qrdistill.training.dev_questions import DevQuestions
from qrdistill.training.methods import chosen_methods
from qrdistill.training.train import TrainResult, train


def fingerprints(folder: Path) -> dict[str, str]:
    """Content of the tables and of every exported weight file."""
    files = [folder / "assignments.parquet", *sorted(folder.glob("students/*/model.safetensors"))]
    return {str(file.relative_to(folder)): content_hash(file) for file in files}


def lines(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what a clock wrote."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


class StopAt(Silent):
    """Raises at a step's end, where a kill could fall: after its metrics, before its checkpoint."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def advance(self, steps: int = 1, **facts: object) -> None:
        if facts:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@dataclass
class Run:
    result: TrainResult
    folder: Path


@pytest.fixture(scope="module")
def once(train_job: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("once")
    return Run(train(*train_job(), folder, base_dir=Path("."), seed=0, progress=Silent()), folder)


def same_end(folder: Path, whole: Path) -> None:
    assert fingerprints(folder) == fingerprints(whole)
    assert lines(folder) == lines(whole)


def test_one_seed_gives_one_result_and_another_seed_another(train_run: Callable[..., Any], once: Run) -> None:
    _, again, _ = train_run("again")
    _, other, _ = train_run("other", seed=1)
    same_end(again, once.folder)
    assert set(fingerprints(again).values()).isdisjoint(fingerprints(other).values())


def test_permuting_the_students_permutes_the_results(
    train_run: Callable[..., Any], student_configs: list[StudentConfig], once: Run
) -> None:
    two, second, _ = train_run("second", students=student_configs[::-1])
    assert fingerprints(second) == fingerprints(once.folder)
    assert once.result.targets == two.targets
    assert once.result.shares == two.shares


@pytest.mark.parametrize("step", [1, 3, 4])  # before a checkpoint, after it, and as the next is due
def test_a_killed_run_goes_on_to_the_same_bits(train_run: Callable[..., Any], step: int, once: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_run("killed", progress=StopAt(step))
    result, killed, _ = train_run("killed")
    assert result.steps == 6
    same_end(killed, once.folder)


def test_a_killed_run_of_a_rule_that_remembers_goes_on_to_the_same_bits(train_run: Callable[..., Any]) -> None:
    _, whole, _ = train_run("whole", router={"kind": "balanced"})
    with pytest.raises(KeyboardInterrupt):
        train_run("killed", router={"kind": "balanced"}, progress=StopAt(3))
    _, killed, _ = train_run("killed", router={"kind": "balanced"})
    same_end(killed, whole)


def test_a_process_killed_while_writing_leaves_the_same_bits(
    train_run: Callable[..., Any], train_job: Callable[..., Any], tmp_path: Path, once: Run
) -> None:
    """In a process of its own: one that has trained has threads, which its forks lack and wait for."""
    moments = ("step", "checkpoint", "export", "table")
    jobs = tmp_path / "jobs.pickle"
    jobs.write_bytes(pickle.dumps((train_job(), {moment: tmp_path / moment for moment in moments})))
    code = f"from killed_while_writing import main; main({str(jobs)!r})"
    done = call(code, main=python, PYTHONPATH=str(Path(__file__).parent))
    assert json.loads(done.stdout or "null") == dict.fromkeys(moments, -signal.SIGKILL), done.stdout + done.stderr
    for moment in moments:
        killed = tmp_path / moment
        left_over = list(killed.glob("**/.*.tmp"))
        assert bool(left_over) == (moment in ("checkpoint", "export")), moment
        sweep(killed)  # as every command does first
        result, _, _ = train_run(moment)
        same_end(killed, once.folder)
        assert (result.targets, result.tokens) == (once.result.targets, once.result.tokens)


def test_a_line_that_a_kill_cut_short_is_forgotten(train_run: Callable[..., Any], tmp_path: Path, once: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_run("killed", progress=StopAt(3))
    with (tmp := tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    _, killed, _ = train_run("killed")
    assert tmp.read_text().count("\n") == 6
    assert lines(killed) == lines(once.folder)


def test_sigterm_saves_before_leaving(train_run: Callable[..., Any], tmp_path: Path, once: Run) -> None:
    class Terminated(Silent):
        def advance(self, steps: int = 1, **facts: object) -> None:
            if facts:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM: training stopped after step 1 of 6"):
        train_run("stopped", progress=Terminated())
    assert (tmp_path / "stopped/checkpoints/step-00000001/state.json").is_file()
    assert signal.getsignal(signal.SIGTERM) == before
    _, stopped, _ = train_run("stopped")
    assert fingerprints(stopped) == fingerprints(once.folder)


def test_less_memory_per_batch_goes_on_from_the_checkpoint(train_run: Callable[..., Any], once: Run) -> None:
    """What the message about memory promises."""
    with pytest.raises(KeyboardInterrupt):
        train_run("cut", progress=StopAt(3))
    _, cut, _ = train_run("cut", config={"max_tokens_per_batch": 60, "gradient_checkpointing": True})
    whole = lines(once.folder)
    assert lines(cut)[:2] == whole[:2]  # not trained again: bit for bit
    for one, two in zip(lines(cut)[2:], whole[2:], strict=True):
        assert one["imitate"] == pytest.approx(two["imitate"], rel=1e-4)


def test_a_changed_setting_starts_afresh(train_run: Callable[..., Any]) -> None:
    train_run("run")
    _, changed, _ = train_run("run", config={"clip": 0.5})
    _, fresh, _ = train_run("fresh", config={"clip": 0.5})
    assert fingerprints(changed) == fingerprints(fresh)


class Heard(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.logged: list[str] = []

    def log(self, message: str) -> None:
        self.logged.append(message)


def flip(file: Path, place: float = 0.5) -> None:
    """One bit, as a bad disk would."""
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)


@pytest.fixture(scope="module")
def stopped(train_job: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its fifth step of six."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        train(*train_job(), folder, base_dir=Path("."), seed=0, progress=StopAt(5))
    return folder


@pytest.mark.parametrize(
    ("damaged", "goes_on_from"),
    [
        ("checkpoints/step-00000004/state.safetensors", 2),
        ("checkpoints/step-00000004/state.json", 2),
        ("assignments/part-00000002.parquet", 2),
        ("assignments/part-00000000.parquet", 0),
        ("metrics.jsonl", 0),
    ],
)
def test_one_flipped_bit_is_told_and_changes_nothing(
    train_run: Callable[..., Any], tmp_path: Path, once: Run, stopped: Path, damaged: str, goes_on_from: int
) -> None:
    """Training goes on from the last checkpoint before the damage, to the same students."""
    shutil.copytree(stopped, tmp_path / "run")
    flip(tmp_path / "run" / damaged, 0.2)
    _, folder, told = train_run("run", progress=Heard())
    assert any(damaged in warning and "damaged" in warning for warning in told.warnings)
    begun = [line for line in told.logged if "going on from" in line]
    assert begun == ([f"going on from step {goes_on_from} of 6"] if goes_on_from else [])
    assert any("begins at its first step" in warning for warning in told.warnings) == (goes_on_from == 0)
    same_end(folder, once.folder)


def test_damaged_best_weights_are_never_exported(
    train_run: Callable[..., Any], pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, _, _ = pool
    dev = [question.model_copy(update={"split": "dev"}) for question in questions.values()]
    monkeypatch.setattr(DevQuestions, "accuracy", lambda _, students: {one.name: {"vanilla": 0.5} for one in students})
    _, folder, _ = train_run("run", dev=dev, config={"eval_every": 2})
    shutil.rmtree(folder / "students")
    flip(folder / "checkpoints/best/weights.safetensors")
    with pytest.raises(TrainingError, match=r"best.weights.safetensors is damaged.*delete .*checkpoints and run"):
        train_run("run", dev=dev, config={"eval_every": 2})
    assert not (folder / "students").exists()


def test_only_the_last_checkpoints_are_kept(train_run: Callable[..., Any]) -> None:
    _, folder, _ = train_run("run", config={"checkpoint_every": 1, "keep_last": 2})
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        "step-00000005",
        "step-00000006",
    ]
    assert not list(folder.glob("**/*.bin"))  # no pickle


def test_assignments_hold_every_pair_of_every_step(train_run: Callable[..., Any]) -> None:
    result, folder, _ = train_run("run", router={"warm": "none"})  # so that some pairs are never measured
    rows = list(read_table(folder / "assignments.parquet", Assignment))
    assert len(rows) == 6 * 6 * 2
    assert [row.step for row in rows] == sorted(row.step for row in rows)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first.path_id, first.student, second.student) == (second.path_id, "ada", "bob")
        assert first.chosen + second.chosen == 1
        assert first.probability + second.probability == pytest.approx(1)
    for row in rows:
        if row.chosen:
            assert row.nll is not None
            assert row.nll > 0
            assert row.nll_step == row.step
        if row.nll is None:
            assert row.nll_step is None
    assert any(row.nll is None for row in rows)  # missing is missing, never a zero
    assert all(row.nll != 0 for row in rows)
    assert sum(result.shares.values()) == pytest.approx(1)


def test_exported_students_are_what_was_trained(
    train_run: Callable[..., Any], student_configs: list[StudentConfig]
) -> None:
    from transformers import AutoModelForCausalLM

    result, folder, _ = train_run("run")
    for config in student_configs:
        assert result.students[config.name] == str(folder / "students" / config.name)
        trained = load_file(folder / "checkpoints/step-00000006/state.safetensors")
        model = AutoModelForCausalLM.from_pretrained(result.students[config.name])
        base = AutoModelForCausalLM.from_pretrained(config.model)
        moved = False
        for (name, value), (_, old) in zip(model.named_parameters(), base.named_parameters(), strict=True):
            assert torch.equal(value, trained[f"student/{config.name}/{name}"])
            moved |= not torch.equal(value, old)
        assert moved


def test_no_steps_exports_the_base_students(
    train_run: Callable[..., Any], student_configs: list[StudentConfig]
) -> None:
    result, folder, _ = train_run("run", config={"steps": 0})
    assert result.steps == 0
    assert list(read_table(folder / "assignments.parquet", Assignment)) == []
    for config in student_configs:
        old, new = (
            load_file(Path(place) / "model.safetensors") for place in (config.model, result.students[config.name])
        )
        assert old.keys() == new.keys()
        assert all(torch.equal(old[name], new[name]) for name in old)


def test_nothing_to_train_on_is_said(train_run: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="no path to train on"):
        train_run("run", paths=[])


def test_paths_that_do_not_fit_are_kept_out_and_counted(
    train_run: Callable[..., Any], pool: Any, student_configs: list[StudentConfig]
) -> None:
    _, paths, _ = pool
    changed = [
        paths[0].model_copy(update={"text": "word " * 300}),
        paths[1].model_copy(update={"text": " "}),
        *paths[2:],
    ]
    result, folder, told = train_run("run", paths=changed)
    assert result.paths == 14
    assert result.kept_out == {"ada: too_long": 1, "empty": 1}
    assert told.warnings[:2] == [
        "1 of 16 paths kept out of training (ada: too_long: question and path together exceed its context; raise "
        "the student's max_context if its model can)",
        "1 of 16 paths kept out of training (empty: no text)",
    ]
    drawn = {row.path_id for row in read_table(folder / "assignments.parquet", Assignment)}
    assert drawn.isdisjoint({paths[0].id, paths[1].id})


def test_own_paths_train_exactly_the_students_named(train_run: Callable[..., Any], pool: Any) -> None:
    _, paths, _ = pool
    own = {paths[0].id: frozenset({"bob"}), paths[1].id: frozenset({"ada", "bob"})}
    _, folder, _ = train_run("run", allowed=own, config={"paths_per_step": 16, "steps": 3})
    rows = list(read_table(folder / "assignments.parquet", Assignment))
    chosen = {(row.path_id, row.student) for row in rows if row.chosen and row.path_id in own}
    assert chosen == {(paths[0].id, "bob"), (paths[1].id, "ada"), (paths[1].id, "bob")}


def test_collapse_is_said_while_training(train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from qrdistill.routing.router import Router

    def certain(self: Router, ledger: object) -> None:
        self.network.head_bias_S.data.copy_(torch.tensor([9.0, -9.0]))

    monkeypatch.setattr(Router, "prepare", certain)
    result, _, told = train_run("run", router={"balance": 0.0, "learning_rate": 1e-6})
    assert any("router collapse" in warning and "to ada" in warning for warning in told.warnings)
    assert result.warnings == told.warnings


def test_near_random_assignment_is_said_at_the_end(
    train_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from qrdistill.routing.router import Router

    def blind(self: Router, ledger: object) -> None:
        self.network.head_SK.data.zero_()

    monkeypatch.setattr(Router, "prepare", blind)
    _, _, told = train_run("run", router={"learning_rate": 1e-6})
    assert any("near-random assignment" in warning for warning in told.warnings)


def test_a_healthy_router_raises_no_warning(train_run: Callable[..., Any]) -> None:
    _, _, told = train_run("run", config={"steps": 12})
    assert told.warnings == []


def test_dev_evaluation_keeps_the_best_weights_and_stops_early(
    train_run: Callable[..., Any], pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions, _, _ = pool
    dev = [question.model_copy(update={"split": "dev"}) for question in questions.values()]
    scores = iter([0.1, 0.6, 0.5, 0.4, 0.3])

    def planned(asked: Any, students: Any) -> Any:
        assert len(asked._watched) == 3
        value = next(scores)
        return {student.name: {"program": value, "vanilla": 0.0} for student in students}

    monkeypatch.setattr(DevQuestions, "accuracy", planned)
    config = {
        "steps": 10,
        "eval_every": 1,
        "patience": 2,
        "eval_questions": 3,
        "checkpoint_every": 1,
        "keep_last": 9,
    }
    result, folder, _ = train_run("run", dev=dev, config=config)
    assert (result.steps, result.best) == (4, 2)
    best = load_file(folder / "checkpoints/step-00000002/state.safetensors")
    exported = load_file(folder / "students/ada/model.safetensors")
    assert all(torch.equal(value, best[f"student/ada/{name}"]) for name, value in exported.items())
    assert [line["dev"]["ada"]["program"] for line in lines(folder)] == [0.1, 0.6, 0.5, 0.4]
    # after a kill between training and export nothing is evaluated again
    shutil.rmtree(folder / "students")
    again, _, _ = train_run("run", dev=dev, config=config)
    assert (again.steps, again.best) == (4, 2)
    assert torch.equal(
        load_file(folder / "students/ada/model.safetensors")["lm_head.weight"], exported["lm_head.weight"]
    )


def test_training_error_names_the_step(train_run: Callable[..., Any], student_configs: list[StudentConfig]) -> None:
    wild = [student_configs[0].model_copy(update={"learning_rate": 1e30}), student_configs[1]]
    with pytest.raises(TrainingError, match=r"step \d+: the (loss|gradient) of (student )?ada"):
        train_run("run", students=wild, router={"kind": "all"})


@pytest.mark.parametrize("kind", ["best_style", "bandit", "fixed_loss", "style", "random"])
def test_rules_train_end_to_end_and_measure_what_they_need(train_run: Callable[..., Any], pool: Any, kind: str) -> None:
    questions, _, _ = pool
    dev = [question.model_copy(update={"split": "dev"}) for question in questions.values()][:1]
    config = {"steps": 2, "eval_every": 1 if kind == "bandit" else None, "eval_questions": 1}
    result, folder, told = train_run("run", router={"kind": kind}, dev=dev, config=config)
    assert result.steps == 2
    assert set(result.styles) == ({"ada", "bob"} if kind == "best_style" else set())
    # random students answer nothing right: what they learn is not left to chance in silence
    unsure = [warning for warning in told.warnings if "no style gives a right answer on 1 dev questions" in warning]
    assert len(unsure) == len(result.styles)
    assert set(unsure) <= set(result.warnings)
    assert min(result.shares.values()) >= 0
    rows = list(read_table(folder / "assignments.parquet", Assignment))
    assert {row.probability for row in rows} <= {0.0, 1.0}
    if kind == "fixed_loss":
        assert all(row.nll is not None for row in rows)


def test_a_rule_that_needs_dev_questions_says_so(train_run: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="router.kind best_style needs dev questions"):
        train_run("run", router={"kind": "best_style"})


def test_students_that_were_just_asked_the_dev_questions_are_not_asked_again(train_run: Callable[..., Any]) -> None:
    """There is no dev question to ask them: the choice is made by what is handed on."""
    right = {"ada": "program", "bob": "chain_of_thought"}
    trials = {
        name: {style: StyleTrial("1110" if style == best else "1000", 0.5) for style in STYLES}
        for name, best in right.items()
    }
    result, _, _ = train_run("run", router={"kind": "best_style"}, trials=trials, config={"steps": 1})
    assert result.styles == right
    held = {"ada": "chain_of_thought"}  # a round's own decision goes before what its dev answers say
    result, _, _ = train_run("held", router={"kind": "best_style"}, trials=trials, chosen=held, config={"steps": 1})
    assert result.styles == right | held


def test_a_learned_router_without_embeddings_says_so(stage: Callable[..., Any], train_run: Callable[..., Any]) -> None:
    built = stage()
    with pytest.raises(InputError, match="needs the paths' embeddings"):
        data = replace(built.data, embeddings=None)
        assemble(
            built.material, data, built.plan, chosen_methods(built.plan, None), DevQuestions(data, built.plan, 0), 0
        )
