"""SIGSTOP and SIGKILL for one of two processes that train: a message each, restarts from the last checkpoint, nothing
asked again."""

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
STEPS = 14
CONFIG = f"""
name: lab
questions: {{train: 24, dev: 6, test: 6}}
train: {{steps: {STEPS}, paths_per_step: 8, checkpoint_every: 3, mesh: {{timeout: 4}}}}
mutual: {{weight: 0.1}}
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


def struck(folder, launcher, signal_number, step):
    """The rank that gets the signal once `step` steps are done."""
    while not (folder / "metrics.jsonl").exists() or len(lines(folder)) < step:
        assert launcher.poll() is None
        time.sleep(0.02)
    found = process_of(1, launcher.pid)
    os.kill(found, signal_number)
    return found


@pytest.mark.slow
def test_a_rank_that_hangs_or_dies_is_named_and_loses_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    qrdistill.run(tmp_path / "config.yaml", tmp_path / "calm", until="train")
    again = tmp_path / "again"
    process = start(again, "--max-restarts", "1")
    try:
        hung = struck(again, process, signal.SIGSTOP, 4)
        bought = (again / "paths.parquet").stat().st_mtime_ns
        while Path(f"/proc/{hung}").exists():  # torchrun leaves it half a minute, then starts both again
            time.sleep(0.02)
        killed = struck(again, process, signal.SIGKILL, 8)
        said, _ = process.communicate(timeout=300)
    finally:
        process.stdout.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 1, said
    told = [line for line in said.splitlines() if "has died or is stopped" in line]
    assert len(told) == 2, said
    for line, number in zip(told, (hung, killed), strict=True):
        assert f"rank 1 has died or is stopped (process {number} on " in line
        assert "Rank 0 waited for it in '" in line
    assert "generate: done before" in said
    assert "going on from step 3" in said
    assert len(lines(again)) < STEPS
    qrdistill.run(tmp_path / "config.yaml", again, until="train")  # any mesh goes on from any other's
    for one, once in zip(lines(again), lines(tmp_path / "calm"), strict=True):
        assert one[0] == once[0]
        assert one[1] == pytest.approx(once[1], rel=1e-4)
        assert one[2] == pytest.approx(once[2])
    assert (again / "paths.parquet").stat().st_mtime_ns == bought
