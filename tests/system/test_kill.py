"""SIGKILL at random moments, then the same command: every table ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

COMMAND = [str(Path(sys.executable).with_name("qrdistill")), "demo", "--quiet", "--seed", "3"]
SHORT = [
    "train.steps=12", "train.paths_per_step=8", "train.checkpoint_every=3", "questions.train=24",
    "questions.dev=6", "questions.test=6", "evaluate.max_tokens=40",
]  # fmt: skip


def start(folder):
    command = [*COMMAND, "--run-dir", str(folder)]
    for item in SHORT:
        command += ["--set", item]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def finish(folder):
    process = start(folder)
    assert process.wait(timeout=300) == 0


def tables(folder):
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in ("*.parquet", "scores.json", "*.safetensors")
        for path in folder.rglob(pattern)
        if "checkpoints" not in path.parts and ".locks" not in path.parts
    }
    assert any(name.endswith("assignments.parquet") for name in found)
    return found


@pytest.mark.slow
def test_ten_kills_leave_the_same_tables(tmp_path):
    begun = time.monotonic()
    finish(tmp_path / "calm")
    undisturbed = time.monotonic() - begun
    draw = random.Random(os.getpid())
    for _ in range(10):
        process = start(tmp_path / "killed")
        time.sleep(draw.uniform(0.1, 0.8) * undisturbed)
        os.kill(process.pid, signal.SIGKILL)  # the parent only: its workers must notice by themselves
        process.wait()
        if draw.random() < 0.5:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    finish(tmp_path / "killed")
    calm, killed = tables(tmp_path / "calm"), tables(tmp_path / "killed")
    assert sorted(calm) == sorted(killed)
    assert [name for name in calm if calm[name] != killed[name]] == []
    assert not [path for path in (tmp_path / "killed").rglob("*.tmp") if "checkpoints" not in path.parts]
