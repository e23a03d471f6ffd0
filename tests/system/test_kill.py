"""SIGKILL at random moments, then the same command: every table ends as if nothing had happened."""

import json
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
    "train.steps=12",
    "train.paths_per_step=8",
    "train.checkpoint_every=3",
    "questions.train=24",
    "questions.dev=6",
    "questions.test=6",
    "evaluate.max_tokens=40",
]


def start(folder):
    command = [*COMMAND, "--run-dir", str(folder)]
    for item in SHORT:
        command += ["--set", item]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def finish(folder):
    process = start(folder)
    assert process.wait(timeout=300) == 0


def tables(folder):
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in ("*.parquet", "scores.json", "*.safetensors", "*.npy")
        for path in folder.rglob(pattern)
        if "checkpoints" not in path.parts
    }
    for path in folder.rglob("metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(folder))] = [{**line, "seconds": None} for line in lines]
    assert any(name.endswith("assignments.parquet") for name in found)
    return found


@pytest.mark.slow
def test_three_kills_leave_the_same_tables(tmp_path):
    begun = time.monotonic()
    finish(tmp_path / "calm")
    undisturbed = time.monotonic() - begun
    calm = tables(tmp_path / "calm")
    draw = random.Random(os.getpid())
    folders, kills = [tmp_path / "killed-0"], 0
    while kills < 3:
        process = start(folders[-1])
        try:
            # came through between two kills: the next one has to meet work again
            assert process.wait(timeout=draw.uniform(0.05, 0.5) * undisturbed) == 0
            folders.append(tmp_path / f"killed-{len(folders)}")
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)  # the parent only: its workers must notice by themselves
            process.wait()
            kills += 1
            if draw.random() < 0.5:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    finish(folders[-1])
    for folder in folders:
        killed = tables(folder)
        assert sorted(calm) == sorted(killed)
        assert [name for name in calm if calm[name] != killed[name]] == []
        assert not [path for path in folder.rglob("*.tmp") if "checkpoints" not in path.parts]
