"""A study's runs and a training on a Ray cluster; paid replies stay with the process that started them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.progress import Silent
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


def test_ray_train_trains_as_one_process_does(cluster: Any, same_bytes: Any, tmp_path: Path) -> None:
    here = run({**CONFIG, "name": "here"}, tmp_path / "here", until="train")
    compute = {"kind": "ray", "address": cluster.address, "processes": 1, "cpus": 1, "gpus": 0}
    there = run({**CONFIG, "name": "there", "compute": compute}, tmp_path / "there", until="train")
    same_bytes(here.folder, there.folder, TABLES[:3])
    weights = [path.relative_to(here.folder) for path in here.folder.glob("students/*/*.safetensors")]
    assert weights
    same_bytes(here.folder, there.folder, weights)
    assert there.config.compute.kind == "ray"
