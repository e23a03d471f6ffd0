"""Idle threads sleep, and workers with their threads never exceed the cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qrdistill.base import threads

_SHOW = "import os, {what}; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('OMP_NUM_THREADS'))"


def _environment(**changes: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "KMP_"))}
    return plain | changes


def _settings(what: str, **changes: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _SHOW.format(what=what)], env=_environment(**changes), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("entry", ["qrdistill", "qrdistill.cli", "qrdistill.studies.grid.worker"])
def test_every_entry_point_lets_idle_threads_sleep(entry: str) -> None:
    assert _settings(entry)[0] == "PASSIVE"


def test_what_the_user_set_stays() -> None:
    assert _settings("qrdistill", OMP_WAIT_POLICY="ACTIVE", OMP_NUM_THREADS="3") == ["ACTIVE", "3"]


def test_torch_sees_the_policy_that_was_set_before_it() -> None:
    """libgomp prints what it took when it is asked to: the proof that the settings come early enough."""
    show = [sys.executable, "-c", "import qrdistill, torch; torch.ones(2).sum()"]
    done = subprocess.run(show, env=_environment(OMP_DISPLAY_ENV="TRUE"), capture_output=True, text=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_a_container_has_the_cores_of_its_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(threads, "_CONTAINER_LIMIT", limit)
    monkeypatch.setattr(threads, "_allowed", lambda: 8)
    for text, expected in [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)]:
        limit.write_text(text)
        assert threads.cores() == expected, text
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    limit.write_text("300000 100000")
    threads.set_thread_defaults()
    assert os.environ["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("user", "workers", "expected"), [("", 2, 4), ("1", 2, 1), ("6", 2, 4), ("6", 1, 6), ("", 9, 1)]
)
def test_workers_times_threads_fit_the_cores(
    user: str, workers: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", user)
    assert threads.threads_per_worker(workers) == expected
