"""Ctrl-C, SIGTERM and SIGKILL at any moment: the same command ends as if nothing had happened.

What asks to stop gets one message and exit code 130. A grid's killed workers: tests/studies/test_run_grid.py.
"""

import json
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass

import pytest
from command import Command

SMALL = [
    "router.kind=learned",
    "own_paths.rounds=1",
    "train.steps=6",
    "train.paths_per_step=4",
    "train.checkpoint_every=2",
    "questions.train=16",
    "questions.dev=4",
    "questions.test=4",
    "evaluate.max_tokens=24",
]
MESSAGE = "qrdistill: interrupted; the same command goes on from here"


def start(folder, *words, listen=False):
    sets = [part for item in SMALL for part in ("--set", item)]
    return Command(*words, *sets, "--run-dir", folder, listen=listen)


def interrupt(process, line, strike):
    """Strikes when the command says a line that holds this; what it says afterwards, and its exit code."""
    with process.errors as errors:
        heard = []
        for said in errors:
            heard.append(said)
            if line in said:
                strike(process.pid)
                break
        else:
            pytest.fail(f"it never said {line!r}: {''.join(heard)}")
        rest = errors.read()
    return rest, process.said().returncode


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


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text("name: small\n")
    return str(file)


@dataclass
class Calm:
    tables: dict
    seconds: float


@pytest.fixture(scope="module")
def calm(tmp_path_factory, config):
    Command("--help").said()  # so that what commands are forked from is there, and the time is that of the run alone
    folder, begun = tmp_path_factory.mktemp("calm"), time.monotonic()
    assert start(folder, "run", config).said().returncode == 0
    return Calm(tables(folder), time.monotonic() - begun)


@pytest.mark.slow
def test_a_run_that_is_interrupted_in_every_stage_ends_with_the_same_tables(tmp_path, config, calm):
    stages = ["Questions", "Paths", "Filter", "Embeddings", "Training", "Own paths", "Evaluation"]
    for index, stage in enumerate(stages):
        number = (signal.SIGTERM, signal.SIGINT)[index % 2]
        process = start(tmp_path, "run", config, listen=True)
        said, code = interrupt(process, f"{stage}: started", lambda pid, number=number: os.kill(pid, number))
        assert code == 130, (stage, said)
        assert "Traceback" not in said, stage
        lines = [line for line in said.splitlines() if line.startswith("qrdistill: ")]
        assert len(lines) == 1, (stage, said)
        assert "the same command" in lines[0], stage
        assert said.splitlines()[-1] == lines[0], stage
    assert start(tmp_path, "run", config).said().returncode == 0
    assert tables(tmp_path) == calm.tables


@pytest.mark.slow
def test_three_kills_leave_the_same_tables(tmp_path, config, calm):
    draw = random.Random(os.getpid())
    folders, kills = [tmp_path / "killed-0"], 0
    while kills < 3:
        process = start(folders[-1], "run", config)
        try:
            process.wait(timeout=draw.uniform(0.05, 0.5) * calm.seconds)
        except subprocess.TimeoutExpired:
            process.kill_group()
            assert process.said().returncode == -signal.SIGKILL
            kills += 1
        else:  # it came through between two kills: the next one has to meet work again
            assert process.said().returncode == 0
            folders.append(tmp_path / f"killed-{len(folders)}")
    assert start(folders[-1], "run", config).said().returncode == 0
    for folder in folders:
        assert tables(folder) == calm.tables
        assert not [path for path in folder.rglob("*.tmp") if "checkpoints" not in path.parts]


@pytest.mark.slow
def test_workers_end_with_their_study(tmp_path):
    """Ctrl-C reaches them too: they leave it to the command that started them."""
    process = start(tmp_path, "demo", listen=True)
    said, code = interrupt(process, " kept ", lambda pid: os.killpg(pid, signal.SIGINT))  # whichever run says so first
    assert code == 130, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("qrdistill: ")] == [MESSAGE]
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process.pid)  # nobody of its process group is left
