"""SIGSTOP and SIGKILL for one of two processes that train: a message each, restarts from the last checkpoint, nothing
asked again."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from command import Command, command

import qrdistill

STEPS = 14
CONFIG = f"""
name: lab
questions: {{train: 24, dev: 6, test: 6}}
train: {{steps: {STEPS}, paths_per_step: 8, checkpoint_every: 3, mesh: {{timeout: 4}}}}
mutual: {{weight: 0.1}}
"""


def torchrun(words):
    """`torchrun --standalone --nproc-per-node 2 --max-restarts 1`, whose processes are forks, not new interpreters."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "kills", "start_method": "fork"}
    config = LaunchConfig(1, 1, 2, max_restarts=1, monitor_interval=0.1, **settings)
    elastic_launch(config, one_of_two)(words)
    return 0


def one_of_two(words):
    Path("rank-{RANK}.pid".format(**os.environ)).write_text(str(os.getpid()))
    command(words)


def lines(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["share"]) for row in rows]


def struck(folder, launcher, signal_number, step):
    """The second process, which gets the signal once `step` steps are done."""
    while not (folder / "metrics.jsonl").exists() or len(lines(folder)) < step:
        assert launcher.poll() is None
        time.sleep(0.02)
    found = int((folder.parent / "rank-1.pid").read_text())
    os.kill(found, signal_number)
    return found


@pytest.mark.slow
def test_a_rank_that_hangs_or_dies_is_named_and_loses_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    qrdistill.run(tmp_path / "config.yaml", tmp_path / "calm", until="train")
    again = tmp_path / "again"
    process = Command("train", "config.yaml", "--run-dir", again, main=torchrun, cwd=tmp_path, listen=True)
    try:
        hung = struck(again, process, signal.SIGSTOP, 4)
        bought = (again / "paths.parquet").stat().st_mtime_ns
        heard = []
        while "has died or is stopped" not in "".join(heard[-1:]):
            heard.append(next(process.errors))
        os.kill(hung, signal.SIGKILL)  # the launcher would leave it half a minute, and then do the same
        killed = struck(again, process, signal.SIGKILL, 8)
        said = "".join([*heard, *process.errors])
        assert process.said().returncode == 1, said
    finally:
        process.kill_group()
        process.errors.close()
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
