"""The same tables from a Ray cluster as from this process, also when a node dies on the way.

One file, so that one process starts one cluster for all of them.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from command import call, python
from safetensors.torch import load_file

import qrdistill.routing.apart
import qrdistill.verdicts.checks.contamination
import qrdistill.verdicts.filter
from qrdistill.base.errors import QRDistillError
from qrdistill.base.progress import Silent
from qrdistill.base.records import Assignment
from qrdistill.base.store import read_table
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.runs.config import Config
from qrdistill.runs.pipeline import run
from qrdistill.runs.run import Run
from qrdistill.studies.grid.run_grid import run_grid, seeded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # what Ray says to itself
CONFIG: dict[str, Any] = {
    "name": "here",
    "questions": {"task": "lab", "train": 16, "dev": 2, "test": 4},
    "paths": {"styles": ["vanilla", "program"]},
    "filter": {"contaminated": "drop"},
    "train": {"steps": 3, "paths_per_step": 4, "warmup": 1, "keep_finished": True},
    "evaluate": {"max_tokens": 30, "samples": 2, "base": False},
}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several shards of a few dozen paths."""
    monkeypatch.setattr(qrdistill.verdicts.filter, "WINDOW", 16)
    monkeypatch.setattr(qrdistill.routing.apart, "_SHARD", 16)
    monkeypatch.setattr(qrdistill.verdicts.checks.contamination, "_SHARD", 16)


class Judge(ThreadingHTTPServer):
    """A paid judge that finds every path sound, and counts what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        said = json.dumps({"reason": "", "first_wrong_step": None, "verdict": "sound", "confidence": 1.0})
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        data = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 5}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None: ...


@pytest.mark.slow
def test_a_run_loses_nothing_with_a_node(
    cluster: Any, striking: Any, same_bytes: Any, tmp_path: Path, small_shards: None
) -> None:
    """The second node dies in the filter, comes back before the training, and dies again in the evaluation."""
    judge = Judge()
    reader = {
        "kind": "openai",
        "name": "reader",
        "model": "m",
        "base_url": f"http://127.0.0.1:{judge.server_port}/v1",
        "concurrency": 4,
    }
    config: dict[str, Any] = {**CONFIG, "filter": {**CONFIG["filter"], "judges": [reader]}}
    here = run(config, tmp_path / "a" / "here", until="train")
    bought, judge.asked = judge.asked, 0
    on_ray = {"kind": "ray", "address": cluster.address, "processes": 2, "cpus": 1, "gpus": 0}
    heard = [signal.getsignal(signal.SIGTERM)]

    def back() -> None:
        heard.append(signal.getsignal(signal.SIGTERM))
        cluster.whole()  # itself puts a handler there

    progress = striking({"filter": cluster.kill, "embed": back, "evaluate": cluster.kill})
    there = run({**config, "compute": on_ray}, tmp_path / "b" / "there", until="evaluate", progress=progress)
    judge.shutdown()
    judge.server_close()
    assert progress.struck == ["filter", "embed", "evaluate"]
    assert heard[0] == heard[1], "whoever hears it must not have been pushed aside"
    assert judge.asked == bought > 16
    with ReplyCache(there.folder.parent / "replies.sqlite") as cache:
        assert cache.stats()["replies"] == bought
    same_bytes(here.folder, there.folder, ["verdicts.parquet", "embeddings.npy"])
    for name in ("filter", "embed"):
        assert there.stages[name]["counts"] == here.stages[name]["counts"]
        assert there.stages[name]["warnings"] == here.stages[name]["warnings"]
    assert not list(there.folder.rglob("*.tmp"))
    trained_as_by_one_process(there, here)
    evaluated_as_by_one_process(there, config, same_bytes)


def trained_as_by_one_process(there: Run, here: Run) -> None:
    parts = [path.name for path in there.folder.glob("checkpoints/*/parts/*.safetensors")]
    assert len(parts) == 2, f"two processes have written a part each, not {parts}"
    rows = [read_table(each.folder / "assignments.parquet", Assignment) for each in (here, there)]
    for one, two in zip(*rows, strict=True):
        assert (one.step, one.path_id, one.student, one.chosen) == (two.step, two.path_id, two.student, two.chosen)
        assert two.probability == pytest.approx(one.probability, rel=2e-4)
    for file in here.folder.glob("students/*/*.safetensors"):
        trained = load_file(there.folder / file.relative_to(here.folder))
        for name, weight in load_file(file).items():
            torch.testing.assert_close(trained[name], weight, atol=2e-4, rtol=0)
    assert there.stages["train"]["counts"]["tokens"] == here.stages["train"]["counts"]["tokens"]


def evaluated_as_by_one_process(there: Run, config: dict[str, Any], same_bytes: Any) -> None:
    """The same students, asked in this process."""
    alone = there.folder.parent / "alone"
    shutil.copytree(there.folder, alone)
    shutil.rmtree(alone / ".answers.parts", ignore_errors=True)
    for name in ("answers.parquet", "scores.json"):
        (alone / name).unlink()
    found = run(config, alone, until="evaluate")
    same_bytes(alone, there.folder, ["answers.parquet", "scores.json"])
    assert found.stages["evaluate"]["warnings"] == there.stages["evaluate"]["warnings"]


GRID: dict[str, Any] = {
    "questions": {"train": 8, "dev": 2, "test": 2},
    "paths": {"styles": ["vanilla", "program"]},
    "train": {"steps": 3, "paths_per_step": 4, "warmup": 1},
    "evaluate": {"max_tokens": 30, "vote": False, "base": False},
}


@pytest.mark.slow
def test_a_grid_loses_nothing_with_a_node(cluster: Any, same_bytes: Any, tmp_path: Path) -> None:
    here = run_grid(seeded({"arm": Config(**GRID)}, (0, 1)), tmp_path / "here", progress=Silent(), until="evaluate")
    there = {**GRID, "compute": {"kind": "ray", "address": cluster.address}}
    folder = tmp_path / "there"
    killer = threading.Thread(target=kill_while_training, args=(cluster, folder))
    killer.start()
    found = run_grid(seeded({"arm": Config(**there)}, (0, 1)), folder, progress=Silent(), until="evaluate")
    killer.join()
    for arm, one in found.items():
        same_bytes(
            here[arm].folder,
            one.folder,
            ["verdicts.parquet", "embeddings.npy", "assignments.parquet", "answers.parquet"],
        )
    assert sorted(path.name for path in folder.glob("*.sqlite")) == ["replies.sqlite"]


def kill_while_training(cluster: Any, folder: Path) -> None:
    """Once both runs are past what asks for replies: the second node has one of them."""
    while len(list(folder.glob("*/embeddings.npy"))) != 2:
        time.sleep(0.05)
    cluster.kill()


BLOCKED = """
import sys
sys.modules["ray"] = sys.modules["vllm"] = None  # as where they are not installed
from qrdistill.cli import main
from qrdistill.runs.config import Config
from qrdistill.runs.pipeline import run
run({config!r}, {folder!r}, until="evaluate")
for asked in (["--engine", "ray"], ["--set", "evaluate.engine=vllm"]):
    sys.argv = ["qrdistill", "evaluate", "config.yaml", "--run-dir", {folder!r}, *asked]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 2
"""


def test_without_ray_and_vllm_nothing_asks_for_them_and_asking_is_one_message(tmp_path: Path) -> None:
    config = {
        "questions": {"task": "lab", "train": 2, "dev": 2, "test": 2},
        "train": {"steps": 1, "warmup": 0},
        "evaluate": {"max_tokens": 4, "vote": False, "base": False},
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    script = BLOCKED.format(config=config, folder=str(tmp_path / "run"))
    done = call(script, main=python, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("qrdistill: ")]
    assert len(said) == 2, done.stderr
    assert "pip install 'qrdistill[ray]'" in said[0]
    assert "pip install 'qrdistill[vllm]'" in said[1]


def test_an_address_where_no_cluster_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(QRDistillError, match="compute.address: no Ray cluster at 127.0.0.1:1"):
        run({**CONFIG, "compute": {"kind": "ray", "address": "127.0.0.1:1"}}, tmp_path / "run", until="filter")
