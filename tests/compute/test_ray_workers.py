"""The same tables from Ray's workers as from this process, also when a node dies on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import qrdistill.routing.apart
import qrdistill.verdicts.checks.contamination
import qrdistill.verdicts.filter
from qrdistill.base.errors import QRDistillError
from qrdistill.runs.pipeline import run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # what Ray says to itself
CONFIG: dict[str, Any] = {
    "name": "here",
    "questions": {"task": "lab", "train": 40, "dev": 4, "test": 4},
    "filter": {"contaminated": "drop"},
    "train": {"steps": 2},
}
TABLES = ["verdicts.parquet", "embeddings.npy"]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards of a few dozen paths."""
    monkeypatch.setattr(qrdistill.verdicts.filter, "WINDOW", 16)
    monkeypatch.setattr(qrdistill.routing.apart, "_SHARD", 64)
    monkeypatch.setattr(qrdistill.verdicts.checks.contamination, "_SHARD", 16)


def on(cluster: Any, **changes: Any) -> dict[str, Any]:
    return {**CONFIG, "compute": {"kind": "ray", "address": cluster.address}, **changes}


@pytest.mark.parametrize("stage", ["filter", "embed"])
def test_a_node_dies_and_the_tables_are_those_of_one_process(
    cluster: Any, striking: Any, same_bytes: Any, tmp_path: Path, small_shards: None, stage: str
) -> None:
    here = run(CONFIG, tmp_path / "here", until="embed")
    progress = striking(stage, cluster.kill)
    there = run(on(cluster), tmp_path / "there", until="embed", progress=progress)
    assert progress.struck
    same_bytes(here.folder, there.folder, TABLES)
    for name in ("filter", "embed"):
        assert there.stages[name]["counts"] == here.stages[name]["counts"]
        assert there.stages[name]["warnings"] == here.stages[name]["warnings"]
    assert not list(there.folder.rglob("*.tmp"))


BLOCKED = """
import sys
sys.modules["ray"] = None  # as where it is not installed
from qrdistill.cli import main
from qrdistill.runs.pipeline import run
run({config!r}, {folder!r}, until="filter")
sys.argv = ["qrdistill", "filter", "config.yaml", "--run-dir", {folder!r}, "--engine", "ray"]
main()
"""


def test_without_ray_nothing_asks_for_it_and_asking_is_one_message(tmp_path: Path) -> None:
    config = {**CONFIG, "questions": {"task": "lab", "train": 2, "dev": 2, "test": 2}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    script = BLOCKED.format(config=config, folder=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pip install 'qrdistill[ray]'" in done.stderr


def test_an_address_where_no_cluster_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(QRDistillError, match="compute.address: no Ray cluster at 127.0.0.1:1"):
        run({**CONFIG, "compute": {"kind": "ray", "address": "127.0.0.1:1"}}, tmp_path / "run", until="filter")
