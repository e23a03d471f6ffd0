"""A grid of ordinary runs, several at a time: each its own resumable run directory, common stages computed once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrdistill.base.errors import Interrupted, QRDistillError
from qrdistill.base.ownership import claim
from qrdistill.base.progress import Progress
from qrdistill.base.store import write_text
from qrdistill.base.threads import cores, threads_per_worker
from qrdistill.compute.config import ComputeConfig
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import dump_config
from qrdistill.runs.run import Run
from qrdistill.studies.grid.worker import Worker

_UNTRAINED = ("load", "generate", "filter")  # the stages before any that needs torch


@dataclass
class _Grid:
    """What is left to do and what the workers do now, shared by the threads that feed them."""

    left: Iterator[tuple[str, Config]]
    folder: Path
    until: str
    progress: Progress
    threads: int
    doing: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    workers: list[Worker] = field(default_factory=list[Worker])
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False
    narrate: bool = False
    asks_only: bool = False  # the workers stop before the first stage that asks nobody

    def next(self) -> tuple[str, Config] | None:
        with self.lock:
            return None if self.stopped else next(self.left, None)

    def started(self, worker: Worker) -> None:
        with self.lock:
            self.workers.append(worker)
            if self.stopped:
                worker.process.terminate()

    def stop(self) -> None:
        """Ends all workers, those too that are being started at this moment."""
        with self.lock:
            self.stopped = True
            for worker in self.workers:
                worker.process.terminate()

    def event(self, arm: str, event: Mapping[str, Any]) -> None:
        with self.lock:
            if event["event"] == "start":
                self.doing[arm] = str(event["stage"])
            elif event["event"] == "done" and self.narrate:
                facts = "  ".join(f"{name} {value}" for name, value in event["facts"].items())
                self.progress.log(f"{arm:<8} {self.doing.get(arm, ''):<9} {facts}")
            elif event["event"] == "warn":
                self.progress.warn(f"{arm}: {event['message']}")
            self.progress.advance(0, **self.doing)

    def finished(self, arm: str, code: int, message: str) -> None:
        with self.lock:
            self.doing.pop(arm, None)
            if code:
                self.failures[arm] = (code, message)
            self.progress.advance(1, **self.doing)


def run_grid(
    arms: Mapping[str, Config],
    folder: Path,
    *,
    workers: int = 2,
    progress: Progress,
    until: str = "report",
    narrate: bool = False,
) -> dict[str, Run]:
    """Runs every arm in `folder/<arm>`, `workers` at a time; finished stages are skipped.

    Workers never exceed the cores, nor do their threads; fewer threads where OMP_NUM_THREADS says so. `narrate` logs
    what each stage of each run came to. With `compute.kind: ray` the runs go to the cluster, which has its own measure of how many at a
    time. Raises QRDistillError with the first arm's message where one fails; the others go on to their end.
    """
    claim(folder)
    for arm in arms:
        claim(folder / arm)
    compute = next(iter(arms.values())).compute
    if compute.kind == "local":
        _run_here(arms, folder, workers=workers, progress=progress, until=until, narrate=narrate)
    else:
        from qrdistill.studies.grid.ray_grid import run_on_ray

        def here(some: Mapping[str, Config]) -> None:
            _run_here(some, folder, workers=workers, progress=progress, until=until, narrate=narrate, asks_only=True)

        alone = {arm: config.model_copy(update={"compute": ComputeConfig()}) for arm, config in arms.items()}
        run_on_ray(alone, folder, compute, here=here, until=until, progress=progress)
    return {arm: Run(folder / arm) for arm in arms}


def _run_here(
    arms: Mapping[str, Config],
    folder: Path,
    *,
    workers: int,
    progress: Progress,
    until: str,
    narrate: bool,
    asks_only: bool = False,
) -> None:
    workers = max(1, min(workers, len(arms), cores()))
    grid = _Grid(
        iter(arms.items()), folder, until, progress, threads_per_worker(workers), narrate=narrate, asks_only=asks_only
    )
    progress.start("runs", len(arms))
    light = None
    if workers > 1 and until not in _UNTRAINED and not asks_only and not Worker.forked:
        light = Worker(grid.threads, light=True)  # before the others: starting one of these waits for torch
        grid.started(light)
    feeders = [threading.Thread(target=_feed, args=(grid, None if at else light)) for at in range(workers)]
    for feeder in feeders:
        feeder.start()
    try:
        for feeder in feeders:
            feeder.join()
    except KeyboardInterrupt:
        grid.stop()
        for feeder in feeders:
            feeder.join()
        raise Interrupted("interrupted; the same command goes on from here") from None
    progress.done(failed=len(grid.failures))
    if grid.failures:
        arm, (code, message) = next(iter(grid.failures.items()))
        error = QRDistillError(f"{len(grid.failures)} of {len(arms)} runs failed, the first: {arm}: {message}")
        error.exit_code = 2 if code == 2 else 1
        raise error


def _feed(grid: _Grid, light: Worker | None) -> None:
    """Keeps one worker process busy until nothing is left.

    light: one that does at first what the runs share before training, while torch is imported for the others.
    """
    worker: Worker | None = None
    try:
        while (job := grid.next()) is not None:
            arm, config = job
            write_text(grid.folder / arm / "config.yaml", dump_config(config))
            if light is not None:
                code, message = _one(grid, light, arm, _UNTRAINED[-1])
                light.quit()
                light = None
                if code:
                    grid.finished(arm, code, message)
                    continue
            if worker is None or worker.ended() is not None:
                worker = Worker(grid.threads)
                grid.started(worker)
            grid.finished(arm, *_one(grid, worker, arm))
    finally:
        for one in (light, worker):
            if one is not None:
                one.quit()


def _one(grid: _Grid, worker: Worker, arm: str, until: str = "") -> tuple[int, str]:
    """Exit code and message of a run that the worker does now, up to the grid's last stage or an earlier one."""
    with suppress(OSError, EOFError):
        worker.channel.send((str(grid.folder / arm), until or grid.until, grid.asks_only))
        while (event := worker.channel.recv())["event"] != "finished":
            grid.event(arm, event)
        return event["code"], event["message"]
    return 1, f"its process died ({_death(worker.quit())}); the same command goes on"


def _death(code: int) -> str:
    """An exit code in words; the kernel kills with SIGKILL what asks for more memory than there is."""
    if code >= 0:
        return f"exit code {code}"
    return f"{signal.Signals(-code).name}{', out of memory?' if code == -signal.SIGKILL else ''}"


def seeded(arms: Mapping[str, Config], seeds: Sequence[int]) -> dict[str, Config]:
    """Every arm once per seed, named `<arm>.s<seed>`."""
    return {
        f"{name}.s{seed}": config.model_copy(update={"seed": seed}) for seed in seeds for name, config in arms.items()
    }
