"""Ctrl-C and SIGTERM in every stage: one message, exit code 130, and the same command ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_kill import tables

COMMAND = str(Path(sys.executable).with_name("qrdistill"))
SMALL = [
    "router.kind=learned",
    "own_paths.rounds=1",
    "train.steps=6",
    "train.paths_per_step=4",
    "questions.train=16",
    "questions.dev=4",
    "questions.test=4",
    "evaluate.max_tokens=24",
]
CONFIG = "name: small\n"
MESSAGE = "qrdistill: interrupted; the same command goes on from here"


def command(folder, *words):
    sets = [part for item in SMALL for part in ("--set", item)]
    return [COMMAND, *words, *sets, "--run-dir", str(folder)]


def start(folder, *words):
    return subprocess.Popen(
        command(folder, *words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def interrupt(process, line, number):
    """Sends the signal when the command says a line that holds this; what it says afterwards, and its exit code."""
    with process:
        heard = []
        for said in process.stderr:
            heard.append(said)
            if line in said:
                os.kill(process.pid, number)
                break
        else:
            pytest.fail(f"it never said {line!r}: {''.join(heard)}")
        return process.stderr.read(), process.wait(timeout=120)


def finish(folder, *words):
    subprocess.run(command(folder, *words), capture_output=True, timeout=300, check=True)


def alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text(CONFIG)
    return str(file)


@pytest.fixture(scope="module")
def calm(tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("calm")
    finish(folder, "run", config)
    return tables(folder)


@pytest.mark.slow
def test_a_run_that_is_interrupted_in_every_stage_ends_with_the_same_tables(tmp_path, config, calm):
    stages = ["Questions", "Paths", "Filter", "Embeddings", "Training", "Own paths", "Evaluation"]
    for index, stage in enumerate(stages):
        process = start(tmp_path, "run", config)
        said, code = interrupt(process, f"{stage}: started", (signal.SIGTERM, signal.SIGINT)[index % 2])
        assert code == 130, (stage, said)
        assert "Traceback" not in said, stage
        lines = [line for line in said.splitlines() if line.startswith("qrdistill: ")]
        assert len(lines) == 1, (stage, said)
        assert "the same command" in lines[0], stage
        assert said.splitlines()[-1] == lines[0], stage
    finish(tmp_path, "run", config)
    assert tables(tmp_path) == calm


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_study(tmp_path, number):
    process = start(tmp_path, "demo")
    said, code = interrupt(process, " kept ", number)  # whichever of its runs says so first
    assert code == 130, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("qrdistill: ")] == [MESSAGE]
    deadline = time.monotonic() + 60
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)  # nobody of its process group is left
