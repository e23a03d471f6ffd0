"""Grids of real runs in real worker processes: shared work once, deaths survived."""

from __future__ import annotations

import multiprocessing
import os
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from command import Command, python

from qrdistill.base.errors import QRDistillError
from qrdistill.base.progress import Silent
from qrdistill.runs.config import Config
from qrdistill.studies.grid.run_grid import run_grid
from qrdistill.studies.grid.worker import Worker

QUICK: dict[str, Any] = {"questions": {"train": 4, "dev": 2, "test": 2}}


def quick(**changes: Any) -> Config:
    return Config.model_validate({**QUICK, **changes})


def stuck(tmp_path: Path) -> Config:
    """A run that never has its questions; who runs it needs `tmp_path` among the places of modules."""
    code = "import time\n\n\ndef load(config, *, seed, base_dir):\n    time.sleep(3600)\n"
    (tmp_path / "never_there.py").write_text(code)
    students, teachers = [{"name": "a", "model": "lab:mistral-tiny"}], [{"kind": "lab"}]
    return quick(questions={"task": "never_there:load"}, students=students, teachers=teachers)


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            own = [int(child) for child in file.read_text().split()]
        except OSError:
            continue  # the thread has just ended
        found += [*own, *(other for child in own for other in descendants(child))]
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class KillsWorkerOf(Silent):
    """Kills every worker once the named run has started (only one works at a time)."""

    def __init__(self, arm: str) -> None:
        super().__init__()
        self.arm, self.killed = arm, 0

    def advance(self, steps: int = 1, **facts: object) -> None:
        if steps == 0 and self.arm in facts and not self.killed:
            for child in multiprocessing.active_children():
                if child.name == "grid worker":
                    child.kill()
                    self.killed += 1


def test_a_worker_that_dies_is_one_failed_run_and_the_others_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    grid = {"first": quick(), "bad": stuck(tmp_path), "last": quick(seed=1)}
    killer = KillsWorkerOf("bad")
    with pytest.raises(QRDistillError, match=r"1 of 3 runs failed, the first: bad: its process died") as caught:
        run_grid(grid, tmp_path / "grid", workers=1, progress=killer, until="load")
    assert killer.killed == 1
    assert "SIGKILL, out of memory?" in str(caught.value)
    assert "same command goes on" in str(caught.value)
    assert (tmp_path / "grid/first/questions.parquet").exists()
    assert (tmp_path / "grid/last/questions.parquet").exists()
    assert not (tmp_path / "grid/bad/questions.parquet").exists()


def test_a_mistake_of_the_user_s_is_named_with_its_run_and_exit_code(tmp_path: Path) -> None:
    grid = {"bad": quick(questions={"options": {"scenario": "odd"}}), "good": quick()}
    with pytest.raises(QRDistillError, match=r"1 of 2 runs failed, the first: bad: .*unknown scenario 'odd'") as caught:
        run_grid(grid, tmp_path, workers=1, progress=Silent(), until="load")
    assert caught.value.exit_code == 2
    assert (tmp_path / "good/questions.parquet").exists()


def test_a_worker_has_the_environment_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os\n\n\ndef load(config, *, seed, base_dir):\n    raise ValueError(os.environ['TOLD'])\n"
    (tmp_path / "told_by_environment.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    students, teachers = [{"name": "a", "model": "lab:mistral-tiny"}], [{"kind": "lab"}]
    config = quick(questions={"task": "told_by_environment:load"}, students=students, teachers=teachers)
    for told in ("first", "second"):
        monkeypatch.setenv("TOLD", told)
        with pytest.raises(QRDistillError, match=f"ValueError: {told}"):
            run_grid({"a": config}, tmp_path / told, workers=1, progress=Silent(), until="load")


def test_what_runs_share_does_not_wait_for_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import sys
from pathlib import Path

def load(config, *, seed, base_dir):
    Path(__file__).with_name("with torch" if "torch" in sys.modules else "without").touch()
    raise ValueError("enough")
"""
    (tmp_path / "told_by_modules.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    students, teachers = [{"name": "a", "model": "lab:mistral-tiny"}], [{"kind": "lab"}]
    config = quick(questions={"task": "told_by_modules:load"}, students=students, teachers=teachers)
    for forked in (True, False):  # where torch has been imported before, no process without it is worth its start
        monkeypatch.setattr(Worker, "forked", forked)
        with pytest.raises(QRDistillError, match="2 of 2 runs failed, the first: [ab]: ValueError: enough"):
            run_grid({"a": config, "b": config}, tmp_path / str(forked), progress=Silent(), until="train")
        assert (tmp_path / "without").exists() != forked


PARENT = """
    from pathlib import Path
    from qrdistill.runs.load_config import load_config
    from qrdistill.base.progress import Silent
    from qrdistill.studies.grid.run_grid import run_grid
    from qrdistill.studies.grid.worker import PRELOADED

    PRELOADED.clear()  # what only loads questions needs no torch
    config = load_config(Path({config!r}))
    run_grid({{"a": config, "b": config}}, Path({folder!r}), workers=2, progress=Silent(), until="load")
"""


def test_killing_the_parent_ends_the_workers(tmp_path: Path) -> None:
    """What asks it to stop does so too: tests/system/test_signals.py."""
    from qrdistill.runs.load_config import dump_config

    file = tmp_path / "config.yaml"
    file.write_text(dump_config(stuck(tmp_path)))
    code = textwrap.dedent(PARENT).format(config=str(file), folder=str(tmp_path / "grid"))
    parent = Command(code, main=python, environment={"PYTHONPATH": str(tmp_path)})
    busy: list[int] = []
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("grid/*/.lock"))) < 2:
            assert parent.poll() is None
            assert time.monotonic() < deadline, "the workers never started"
            time.sleep(0.05)
        while len(busy := descendants(parent.pid)) < 2:  # the kernel's list of children may leave some out
            assert parent.poll() is None, parent.said()
            assert time.monotonic() < deadline, "the workers are not there"
            time.sleep(0.05)
        os.kill(parent.pid, signal.SIGKILL)
        parent.said()
        deadline = time.monotonic() + 60
        while any(alive(pid) for pid in busy):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.05)
    finally:
        parent.kill_group()
