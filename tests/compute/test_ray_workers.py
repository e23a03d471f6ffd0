"""The same tables from Ray's workers as from this process, also when a node dies on the way."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import qrdistill.routing.apart
import qrdistill.verdicts.checks.contamination
import qrdistill.verdicts.filter
from qrdistill.base.errors import QRDistillError
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.runs.pipeline import run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # what Ray says to itself
CONFIG: dict[str, Any] = {
    "name": "here",
    "questions": {"task": "lab", "train": 40, "dev": 4, "test": 4},
    "filter": {"contaminated": "drop"},
    "train": {"steps": 2},
}
ANSWERED = {"steps": 2, "paths_per_step": 4, "warmup": 1}
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
    progress, heard = striking(stage, cluster.kill), signal.getsignal(signal.SIGTERM)
    there = run(on(cluster), tmp_path / "there", until="embed", progress=progress)
    assert progress.struck
    assert signal.getsignal(signal.SIGTERM) == heard, "whoever hears it must not have been pushed aside"
    same_bytes(here.folder, there.folder, TABLES)
    for name in ("filter", "embed"):
        assert there.stages[name]["counts"] == here.stages[name]["counts"]
        assert there.stages[name]["warnings"] == here.stages[name]["warnings"]
    assert not list(there.folder.rglob("*.tmp"))


def test_evaluation_on_workers_writes_the_answers_of_one_process(
    cluster: Any, striking: Any, same_bytes: Any, tmp_path: Path
) -> None:
    small: dict[str, Any] = {
        "train": ANSWERED,
        "paths": {"styles": ["vanilla", "program"]},
        "evaluate": {"max_tokens": 30, "samples": 2, "base": False},
    }
    here = run({**CONFIG, **small}, tmp_path / "here", until="evaluate")
    shutil.copytree(here.folder, tmp_path / "there")
    (tmp_path / "there" / "answers.parquet").unlink()
    shutil.rmtree(tmp_path / "there" / ".answers.parts")
    progress = striking("evaluate", cluster.kill)
    there = run(on(cluster, **small), tmp_path / "there", until="evaluate", progress=progress)
    assert progress.struck
    same_bytes(here.folder, there.folder, ["answers.parquet", "scores.json"])
    assert there.stages["evaluate"]["warnings"] == here.stages["evaluate"]["warnings"]


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


def test_a_reply_is_bought_once_whoever_dies(
    cluster: Any, striking: Any, same_bytes: Any, tmp_path: Path, small_shards: None
) -> None:
    judge = Judge()
    url = f"http://127.0.0.1:{judge.server_port}/v1"
    reader = {"kind": "openai", "name": "reader", "model": "m", "base_url": url, "concurrency": 4}
    judged = {"filter": {**CONFIG["filter"], "judges": [reader]}}
    progress = striking("filter", cluster.kill)
    there = run(on(cluster, **judged), tmp_path / "a" / "there", until="filter", progress=progress)
    bought, judge.asked = judge.asked, 0
    here = run({**CONFIG, **judged}, tmp_path / "b" / "here", until="filter")
    judge.shutdown()
    judge.server_close()
    same_bytes(here.folder, there.folder, TABLES[:1])
    assert progress.struck
    assert bought == judge.asked > 16
    with ReplyCache(there.folder.parent / "replies.sqlite") as cache:
        assert cache.stats()["replies"] == bought


BLOCKED = """
import sys
sys.modules["ray"] = sys.modules["vllm"] = None  # as where they are not installed
from qrdistill.cli import main
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
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("qrdistill: ")]
    assert len(said) == 2, done.stderr
    assert "pip install 'qrdistill[ray]'" in said[0]
    assert "pip install 'qrdistill[vllm]'" in said[1]


def test_an_address_where_no_cluster_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(QRDistillError, match="compute.address: no Ray cluster at 127.0.0.1:1"):
        run({**CONFIG, "compute": {"kind": "ray", "address": "127.0.0.1:1"}}, tmp_path / "run", until="filter")
