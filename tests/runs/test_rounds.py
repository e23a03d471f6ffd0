"""Rounds are the same stages again: who is asked, what joins the pool, from where students go on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qrdistill.base.progress import Silent
from qrdistill.base.records import Assignment, ReasoningPath, Verdict
from qrdistill.base.store import read_table, shards, write_table
from qrdistill.lab import student_folder
from qrdistill.lab.mixes import FAMILIES
from qrdistill.runs.context import Context
from qrdistill.runs.load_config import load_config
from qrdistill.runs.pipeline import due, run
from qrdistill.runs.run import Run
from qrdistill.runs.stages import stages
from qrdistill.training.optimizers import schedule

CONFIG = {
    "name": "rounds",
    "shard_rows": 5,  # tables of several files, through every stage
    "questions": {"train": 16, "dev": 1, "test": 1, "options": {"hard": 0.0}},
    "teachers": [{"name": "t", "kind": "lab", "strength": dict.fromkeys(FAMILIES, 0.8)}],
    "paths": {"styles": ["vanilla"]},
    "train": {"steps": 6, "paths_per_step": 6, "warmup": 1},
    "evaluate": {"max_tokens": 40},
    "own_paths": {"rounds": 2, "samples": 1, "max_tokens": 40, "ask_teachers": True, "ask": "all", "peers": "own"},
}


def kept(paths: Path, verdicts: Path) -> list[ReasoningPath]:
    good = {row.path_id for row in read_table(verdicts, Verdict) if row.check == "filter" and row.outcome == "keep"}
    return [path for path in read_table(paths, ReasoningPath) if path.id in good]


@pytest.fixture(scope="module")
def asked_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "rounds"
    run(CONFIG, folder, until="train")
    return folder


def test_the_plan_repeats_every_stage_from_asking_to_training():
    assert [stage.name for stage in stages(load_config(CONFIG))][4:-4] == [
        "train@0",
        *(f"{name}@{round}" for round in (1, 2) for name in ("generate", "sample", "filter", "embed", "train")),
        "gather",
    ]
    names = [stage.name for stage in stages(load_config(CONFIG, ["own_paths.ask_teachers=false"]))]
    assert [name for name in names if name.startswith(("generate", "embed"))] == ["generate", "embed"]
    chosen = stages(load_config(CONFIG, ["router.kind=best_style"]))
    handed_on = {stage.name: "rounds/1/trials.json" in stage.inputs for stage in chosen if stage.group == "train"}
    assert {name for name, read in handed_on.items() if read} == {"train@1"}
    read_by = {stage.name for stage in chosen if "rounds/0/styles.json" in stage.inputs}
    assert read_by == {"sample@1", "gather"}  # what a student read before is what it goes on with
    assert {stage.name for stage in chosen if "styles.json" in stage.inputs} == {"evaluate", "untrained", "score"}
    assert not [stage.name for stage in stages(load_config(CONFIG)) if "styles.json" in stage.inputs]
    by_verb: dict[str, set[object]] = {}
    for stage in stages(load_config(CONFIG)):
        by_verb.setdefault(stage.name.partition("@")[0], set()).add(stage.run)
    assert {name: len(functions) for name, functions in by_verb.items() if len(functions) > 1} == {}


def test_teachers_are_asked_again_for_what_has_no_kept_path(asked_again):
    folder = asked_again
    assert len(shards(folder / "paths.parquet")) == 4
    assert (folder / "rounds/1/verdicts.parquet").is_dir()
    train = [row.id for row in Run(folder).questions() if row.split == "train"]
    solved = {path.question_id for path in kept(folder / "paths.parquet", folder / "verdicts.parquet")}
    for round in (1, 2):
        place = folder / f"rounds/{round}"
        asked = list(read_table(place / "asked.parquet", ReasoningPath))
        assert [path.question_id for path in asked] == [name for name in train if name not in solved]
        assert asked, "this seed leaves nothing to ask for; choose another"
        assert {(path.round, path.sample, path.teacher) for path in asked} == {(round, round, "t")}
        joined = kept(place / "asked.parquet", place / "verdicts.parquet")
        assert len(np.load(place / "embeddings.npy")) == len(joined)
        own = kept(place / "paths.parquet", place / "verdicts.parquet")
        solved |= {path.question_id for path in (*joined, *own)}


def test_what_teachers_write_later_is_shared_out_and_what_students_write_trains_its_writer(asked_again):
    folder = asked_again
    routed = {path.id for path in kept(folder / "paths.parquet", folder / "verdicts.parquet")}
    own: dict[str, str] = {}
    later: set[str] = set()
    for round in (1, 2):
        place = folder / f"rounds/{round}"
        later |= {path.id for path in kept(place / "asked.parquet", place / "verdicts.parquet")}
        own |= {path.id: path.teacher for path in kept(place / "paths.parquet", place / "verdicts.parquet")}
        rows = list(read_table(place / "assignments.parquet", Assignment))
        chosen = [(row.path_id, row.student) for row in rows if row.chosen]
        assert {path for path, _ in chosen} <= routed | later | set(own)
        assert [pair for pair in chosen if pair[0] in own and own[pair[0]] != pair[1]] == []
    seen = {row.path_id for row in Run(folder).assignments()}
    assert later & seen
    assert set(own) & seen
    assert {path.id for path in Run(folder).own_paths()} >= later | set(own)
    assert {row.path_id for row in Run(folder).own_verdicts()} >= later | set(own)


def test_the_learning_rate_follows_one_curve_over_all_rounds(asked_again):
    lines = [json.loads(line) for line in (asked_again / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [0, 1, 1, 2, 2, 2]
    config = load_config(CONFIG)
    highest = {student.name: student.learning_rate for student in config.students}
    for step, line in enumerate(lines):
        rates = {name: rate * schedule(config.train, step) for name, rate in highest.items()}
        assert {name: line["learning_rate"][name] for name in rates} == pytest.approx(rates)


def test_a_run_that_asks_again_resumes(asked_again):
    before = (asked_again / "students/mistral/model.safetensors").read_bytes()
    assert due(load_config(CONFIG), asked_again, "train") == []
    shards(asked_again / "rounds/1/asked.parquet")[0].unlink()
    run(CONFIG, asked_again, until="train")
    assert (asked_again / "students/mistral/model.safetensors").read_bytes() == before


@pytest.mark.parametrize("restart", [False, True])
def test_a_round_goes_on_from_the_one_before_unless_it_is_to_restart(tmp_path, restart):
    """All steps are spent before the round, so that it hands on the weights that it began with."""
    own = {"rounds": 1, "warm_share": 0.9, "samples": 1, "max_tokens": 4, "restart": restart}
    few = {"train": 6, "dev": 1, "test": 1, "options": {"hard": 0.0}}
    run(
        {
            **CONFIG,
            "questions": few,
            "evaluate": {"max_tokens": 4},
            "train": {**CONFIG["train"], "steps": 1},
            "own_paths": own,
        },
        tmp_path / "run",
        until="train",
    )
    stages = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    assert [stages[f"train@{round}"]["counts"]["steps"] for round in (0, 1)] == [1, 0]

    def weights(folder: Path) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file

        return load_file(folder / "model.safetensors")

    first, second = (weights(tmp_path / f"run/rounds/{round}/students/gemma") for round in (0, 1))
    base = weights(student_folder("gemma-tiny"))
    start = base if restart else first
    assert all(np.array_equal(second[name], start[name]) for name in second)
    assert any(not np.array_equal(first[name], base[name]) for name in first)


def test_every_sampled_path_has_a_verdict_also_where_nobody_knows_the_answer(tmp_path, tiny_student_folder):
    settings = {
        **CONFIG,
        "teachers": [{**CONFIG["teachers"][0], "coverage": 0.5}],
        "students": [{"name": "random", "model": str(tiny_student_folder("mistral"))}],
        "router": {"kind": "all"},
        "train": {"steps": 2, "paths_per_step": 2, "warmup": 0},
        "own_paths": {"rounds": 1, "warm_share": 0.5, "samples": 2, "max_tokens": 6, "ask": "all", "gold": False},
    }
    run(settings, tmp_path / "run", until="train")
    closing = [row for row in Run(tmp_path / "run").own_verdicts() if row.check == "filter"]
    assert [row.path_id for row in closing] == [path.id for path in Run(tmp_path / "run").own_paths()]
    assert len(closing) == 32
    assert any("agreement: 0 of 2 sampled paths state one answer" in row.reason for row in closing)
    stages = json.loads((tmp_path / "run/manifest.json").read_text())["stages"]
    account = stages["filter@1"]["counts"]
    assert account["generated"] == 32 == account["kept"] + account["dropped"] + account["undecided"]
    (said,) = stages["train@1"]["warnings"]  # nothing to learn from: it trains on, and says so
    assert said.startswith("random wrote 32 paths in round 1, of which the filter kept 0 (0.0%, below 5%)")
    found = {"round": 1, "student": "random", "sampled": 32, "kept": 0, "teaches": False}
    assert stages["train@1"]["counts"]["yields"] == [found]
    read = {row.path_id for row in read_table(tmp_path / "run/rounds/1/assignments.parquet", Assignment)}
    assert read
    assert all(name.startswith("0/") for name in read)


def test_a_few_lucky_paths_are_not_read_and_their_questions_stay_gaps(tmp_path):
    """Of a's forty paths one is kept, of b's forty ten."""
    fields = {"round": 1, "style": "s", "prompt_hash": "", "text": "x", "answer": None}
    paths = [
        ReasoningPath(id=f"1/{name}{n}", question_id=f"q{n}", teacher=name, **fields)
        for n in range(40)
        for name in ("a", "b")
    ]
    kept = {"1/a7", *(f"1/b{n}" for n in range(10))}
    place = tmp_path / "rounds/1"
    write_table(place / "paths.parquet", ReasoningPath, paths)
    closing = (
        Verdict(path_id=path.id, check="filter", outcome="keep" if path.id in kept else "drop") for path in paths
    )
    write_table(place / "verdicts.parquet", Verdict, closing)
    context = Context(load_config(CONFIG, ["own_paths.ask_teachers=false"]), tmp_path, Silent(), round=1)
    assert [(one.student, one.kept, one.teaches) for one in context.yields(1)] == [("a", 1, False), ("b", 10, True)]
    assert {path.id for path in context.own(1)} == kept - {"1/a7"}
    assert {path.id for path in context.kept(range(1, 2))} == kept - {"1/a7"}
