"""A grid's runs on a Ray cluster: what asks for replies is done here, the rest by whichever node has room.

A node that dies gives its runs to another, which goes on from the run directory: from the last finished stage, and in
a training from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qrdistill.base.errors import Interrupted, QRDistillError
from qrdistill.base.progress import Progress
from qrdistill.compute.cluster import Cluster, cluster
from qrdistill.compute.config import ComputeConfig
from qrdistill.runs.apart.parts import run_apart
from qrdistill.runs.config import Config
from qrdistill.runs.pipeline import due

_RETRIES = 3  # of a run whose process or node died
_LOOK = 1.0  # seconds between two looks for Ctrl-C


def run_on_ray(
    arms: Mapping[str, Config],
    folder: Path,
    compute: ComputeConfig,
    *,
    here: Callable[[Mapping[str, Config]], object],
    until: str,
    progress: Progress,
) -> None:
    """Runs every arm to its end. `here` runs on this machine what asks for replies, of the arms that it is given.

    Raises QRDistillError with the first arm's message where one fails; the others go on to their end.
    """
    failures: dict[str, tuple[int, str]] = {}
    with cluster(compute) as found:
        left, before = _left(arms, folder, until), None
        while left and left != before:
            before = left
            here({arm: arms[arm] for arm in left})
            left = _left({arm: arms[arm] for arm in left}, folder, until)
            if left:
                failures |= _away(found, list(left), folder, until, progress)
                left = _left({arm: arms[arm] for arm in left if arm not in failures}, folder, until)
    assert not left, f"these stages are due however often they are run: {left}"
    if failures:
        arm, (code, message) = next(iter(failures.items()))
        error = QRDistillError(f"{len(failures)} of {len(arms)} runs failed, the first: {arm}: {message}")
        error.exit_code = 2 if code == 2 else 1
        raise error


def _left(arms: Mapping[str, Config], folder: Path, until: str) -> dict[str, list[str]]:
    """Arm -> its stages that are due; arms that are done are not in it."""
    stages = {arm: due(config, folder / arm, until) for arm, config in arms.items()}
    return {arm: names for arm, names in stages.items() if names}


def _away(
    found: Cluster, arms: Sequence[str], folder: Path, until: str, progress: Progress
) -> dict[str, tuple[int, str]]:
    """One task per run, as many at a time as the cluster has room for; the failures by arm."""
    found.connect()
    ray = found.ray
    task = ray.remote(run_apart).options(max_retries=_RETRIES, **found.share)
    where = str(folder.absolute())
    running: dict[Any, str] = {task.remote(str(Path(where) / arm), until, where): arm for arm in arms}
    failures: dict[str, tuple[int, str]] = {}
    progress.start("runs on Ray", len(running))
    try:
        while running:
            done, _ = ray.wait(list(running), timeout=_LOOK)
            for one in done:
                arm = running.pop(one)
                try:
                    code, message, warnings = ray.get(one)
                except ray.exceptions.RayError as error:
                    code, message, warnings = (
                        1,
                        f"its process died ({_first_line(error)}); the same command goes on",
                        [],
                    )
                for warning in warnings:
                    progress.warn(f"{arm}: {warning}")
                if code:
                    failures[arm] = code, message
                progress.advance(1, done=arm)
    except KeyboardInterrupt:
        for one in running:
            ray.cancel(one)
        raise Interrupted("interrupted; the same command goes on from here") from None
    progress.done(failed=len(failures))
    return failures


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
