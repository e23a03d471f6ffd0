"""Fair tuning: every arm gets the same candidates, and the one that dev shows best."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.progress import Silent
from qrdistill.runs.config import Config
from qrdistill.runs.run import Run
from qrdistill.studies.grid import tune as tuning
from qrdistill.studies.grid.arms import Arm

ARMS = [
    Arm("zero-shot", "untrained", "baseline", {"train.steps": 0}),
    Arm("all", "everything", "baseline", {"router.kind": "all"}),
    Arm("learned", "routed", "part", {"router.kind": "learned", "students.0.learning_rate": 0.5}),
]


def made_up(folder: Path, dev: float, test: float) -> None:
    """A finished run whose dev and test accuracies are as told."""
    folder.mkdir(parents=True)
    score = {"student": "mistral", "style": "program", "family": "all"}
    scores = {
        "scores": [{**score, "split": "dev", "accuracy": dev}, {**score, "split": "test", "accuracy": test}],
        "headlines": [
            {
                "student": "mistral",
                "base": False,
                "style": "program",
                "styled": {"accuracy": test},
                "free": None,
            }
        ],
        "ensembles": [],
    }
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "manifest.json").write_text(json.dumps({"stages": {}}))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Config]:
    """Runs are not trained: the higher rate is better on dev for `all`, the lower one for `learned`, and
    on test it is the other way round."""
    grids: dict[str, Config] = {}

    def run_grid(grid: Mapping[str, Config], folder: Path, **settings: Any) -> dict[str, Run]:
        assert settings["until"] == "evaluate"
        for label, config in grid.items():
            likes_high = config.router.kind == "all"
            is_high = config.students[1].learning_rate > 0.5e-3
            long = config.train.steps == 20
            dev = 0.5 + 0.2 * (likes_high == is_high) + 0.1 * long
            made_up(folder / label, dev, 1 - dev)
        grids.update(grid)
        return {label: Run(folder / label) for label in grid}

    monkeypatch.setattr(tuning, "run_grid", run_grid)
    return grids


def test_the_candidate_with_the_best_dev_accuracy_is_chosen_for_every_arm(
    asked: dict[str, Config], tmp_path: Path
) -> None:
    config = Config.model_validate({"train": {"steps": 10}})
    chosen = tuning.tune(ARMS, config, tmp_path, "even", variant={"questions.train": 50}, workers=1, progress=Silent())
    assert {name: candidate for name, (candidate, _) in chosen.items()} == {
        "all": "lr1-x2",
        "learned": "lr0.3-x2",
    }
    assert chosen["all"][1]["train.steps"] == 20
    # every arm had the same number of candidates, on dev, with seeds that no comparison uses
    per_arm = {name: [label for label in asked if f".{name}." in label] for name in ("all", "learned", "zero-shot")}
    assert [len(labels) for labels in per_arm.values()] == [3, 3, 0]
    # both rates at the configured steps, then more steps at the better rate only
    tried = [label.split("tune-")[1].split(".s")[0] for label in per_arm["learned"]]
    assert tried == ["lr0.3-x1", "lr1-x1", "lr0.3-x2"]
    assert all(one.evaluate.split == "dev" and one.seed >= 1000 for one in asked.values())
    assert all(one.questions.train == 50 for one in asked.values())
    # what an arm itself fixes, tuning leaves alone
    assert all(asked[label].students[0].learning_rate == 0.5 for label in per_arm["learned"])


def test_candidates_scale_what_the_config_says() -> None:
    config = Config.model_validate({"train": {"steps": 15}})
    found = tuning.candidates(config)
    assert list(found) == ["lr0.3-x1", "lr0.3-x2", "lr1-x1", "lr1-x2"]
    assert found["lr0.3-x2"] == {
        "train.steps": 30,
        "students.0.learning_rate": pytest.approx(3e-4),
        "students.1.learning_rate": pytest.approx(3e-4),
    }
