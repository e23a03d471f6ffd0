"""Metrics to TensorBoard, Weights & Biases or trackio, beside metrics.jsonl, by config."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.plugins import registry

Log = Callable[[Mapping[str, float], int], None]


def flat(line: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers of a metrics line under slash-separated names.

    >>> flat({"loss": 0.5, "share": {"a": 0.25}, "staleness": None})
    {'loss': 0.5, 'share/a': 0.25}
    """
    found: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            found[f"{prefix}{name}"] = value
    return found


@contextmanager
def tracking(kinds: Sequence[str], folder: Path) -> Generator[Log]:
    """Yields a function (metrics line, step) that feeds every tracker named in `train.track`.

    TensorBoard events go to `folder`/tensorboard; the others' runs are named after the run folder.
    Raises InputError where a tracker's extra is not installed.
    """
    with ExitStack() as stack:
        logs = [stack.enter_context(registry.find("trackers", kind, key="train.track")(folder)) for kind in kinds]

        def log(line: Mapping[str, Any], step: int) -> None:
            if logs:
                values = flat(line)
                for each in logs:
                    each(values, step)

        yield log


@contextmanager
def open_tensorboard(folder: Path) -> Generator[Log]:
    _module("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def open_wandb(folder: Path) -> Generator[Log]:
    run: Any = _module("wandb").init(project="qrdistill", name=folder.resolve().name, dir=str(folder))
    try:
        yield lambda values, step: run.log(dict(values), step=step)
    finally:
        run.finish()


@contextmanager
def open_trackio(folder: Path) -> Generator[Log]:
    trackio: Any = _module("trackio")
    trackio.init(project="qrdistill", name=folder.resolve().name)
    try:
        yield lambda values, step: trackio.log({**values, "step": step})
    finally:
        trackio.finish()


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"train.track: {name} is not installed; pip install 'qrdistill[{name}]'") from error
