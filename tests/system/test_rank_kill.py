"""SIGKILL for one of two processes that train: one message, a restart from the last checkpoint, nothing asked again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import qrdistill

TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node", "2"]
CONFIG = """
name: lab
questions: {train: 24, dev: 6, test: 6}
train: {steps: 14, paths_per_step: 8, checkpoint_every: 3}
mutual: {weight: 0.1}
"""


def start(folder, *more):
    command = [
        *TORCHRUN,
        *more,
        "-m",
        "qrdistill",
        "train",
        str(folder.parent / "config.yaml"),
        "--run-dir",
        str(folder),
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def process_of(rank, launcher):
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            return int(child)
    raise AssertionError(f"no rank {rank}")


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["share"]) for row in rows]


@pytest.mark.slow
def test_a_killed_rank_is_named_and_loses_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    qrdistill.run(tmp_path / "config.yaml", tmp_path / "calm", until="train")
    killed = tmp_path / "killed"
    process = start(killed, "--max-restarts", "1")
    try:
        while not (killed / "metrics.jsonl").exists() or len(lines(killed)) < 7:
            assert process.poll() is None
            time.sleep(0.02)
        bought = (killed / "paths.parquet").stat().st_mtime_ns
        os.kill(process_of(1, process.pid), signal.SIGKILL)
        said, _ = process.communicate(timeout=300)
    finally:
        process.stdout.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, said
    told = [line for line in said.splitlines() if "has died or is stopped" in line]
    assert len(told) == 1, said
    assert "rank 1 has died" in told[0]
    assert "Rank 0 waited for it in" in told[0]
    assert "going on from step" in said
    for again, once in zip(lines(killed), lines(tmp_path / "calm"), strict=True):
        assert again[0] == once[0]
        assert again[1] == pytest.approx(once[1], rel=1e-4)
        assert again[2] == pytest.approx(once[2])
    assert "generate: done before" in said
    assert (killed / "paths.parquet").stat().st_mtime_ns == bought
