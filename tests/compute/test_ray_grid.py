"""A study's runs and a training on a Ray cluster; paid replies stay with the process that started them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qrdistill.base.progress import Silent
from qrdistill.base.records import Assignment
from qrdistill.base.store import read_table
from qrdistill.runs.config import Config
from qrdistill.runs.pipeline import run
from qrdistill.studies.grid.run_grid import run_grid, seeded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # what Ray says to itself
]
CONFIG: dict[str, Any] = {
    "questions": {"train": 8, "dev": 2, "test": 2},
    "paths": {"styles": ["vanilla", "program"]},
    "train": {"steps": 3, "paths_per_step": 4, "warmup": 1},
    "evaluate": {"max_tokens": 30, "vote": False, "base": False},
}
TABLES = ["verdicts.parquet", "embeddings.npy", "assignments.parquet", "answers.parquet"]


def test_a_grid_loses_nothing_with_a_node(cluster: Any, same_bytes: Any, tmp_path: Path) -> None:
    here = run_grid(seeded({"arm": Config(**CONFIG)}, (0, 1)), tmp_path / "here", progress=Silent(), until="evaluate")
    there = {**CONFIG, "compute": {"kind": "ray", "address": cluster.address}}
    folder = tmp_path / "there"
    killer = threading.Thread(target=kill_while_training, args=(cluster, folder))
    killer.start()
    found = run_grid(seeded({"arm": Config(**there)}, (0, 1)), folder, progress=Silent(), until="evaluate")
    killer.join()
    for arm, one in found.items():
        same_bytes(here[arm].folder, one.folder, TABLES)
    assert sorted(path.name for path in folder.glob("*.sqlite")) == ["replies.sqlite"]


def kill_while_training(cluster: Any, folder: Path) -> None:
    """Once both runs are past what asks for replies: the second node has one of them."""
    while len(list(folder.glob("*/embeddings.npy"))) != 2:
        time.sleep(0.05)
    cluster.kill()


def test_two_processes_of_ray_train_train_as_one_does(cluster: Any, same_bytes: Any, tmp_path: Path) -> None:
    here = run({**CONFIG, "name": "here"}, tmp_path / "here", until="train")
    compute = {"kind": "ray", "address": cluster.address, "processes": 2, "cpus": 1, "gpus": 0}
    kept = {**CONFIG, "train": {**CONFIG["train"], "keep_finished": True}}
    there = run({**kept, "name": "there", "compute": compute}, tmp_path / "there", until="train")
    parts = [path.name for path in there.folder.glob("checkpoints/*/parts/*.safetensors")]
    assert len(parts) == 2, f"two processes have written a part each, not {parts}"
    same_bytes(here.folder, there.folder, TABLES[:2])
    rows = [read_table(each.folder / "assignments.parquet", Assignment) for each in (here, there)]
    for one, two in zip(*rows, strict=True):
        assert (one.step, one.path_id, one.student, one.chosen) == (two.step, two.path_id, two.student, two.chosen)
        assert two.probability == pytest.approx(one.probability, rel=2e-4)
    for file in here.folder.glob("students/*/*.safetensors"):
        trained = load_file(there.folder / file.relative_to(here.folder))
        for name, weight in load_file(file).items():
            torch.testing.assert_close(trained[name], weight, atol=2e-4, rtol=0)
    assert there.stages["train"]["counts"]["tokens"] == here.stages["train"]["counts"]["tokens"]
