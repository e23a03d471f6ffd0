"""Config, metrics and scores to TensorBoard, Weights & Biases or trackio, beside the run's own files, by config."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from qrdistill.base.errors import InputError
from qrdistill.base.plugins import registry
from qrdistill.base.store import content_hash
from qrdistill.base.untrusted.yaml_file import parse_yaml

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

    TensorBoard events go to `folder`/tensorboard; the others' runs are named after the run folder, and gone on with
    where they were begun before (the scores come after the training). Each gets the run's config.
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


def track_scores(kinds: Sequence[str], folder: Path, figures: Mapping[str, Any]) -> None:
    """Accuracies and gains of scores.json, one step after the last one of the run's metrics.jsonl."""
    log_file = folder / "metrics.jsonl"
    steps = log_file.read_bytes().count(b"\n") if log_file.exists() else 0
    values: dict[str, Any] = {}
    for head in figures["headlines"]:
        modes = ("styled", "free")
        shares = {mode: head[mode]["accuracy"] for mode in modes if head[mode]}
        gains = {f"{mode}_gain": head[f"{mode}_gain"]["difference"] for mode in modes if head[f"{mode}_gain"]}
        values[head["student"]] = shares | gains
    if figures["gain"]:
        values["all"] = {key: figures["gain"][key] for key in ("untrained", "trained")}
    with tracking(kinds, folder) as log:
        log(flat({"scores": values}), steps)


@contextmanager
def open_tensorboard(folder: Path) -> Generator[Log]:
    _module("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))
    if text := config_text(folder):
        writer.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))  # markdown: a block of code

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def open_wandb(folder: Path) -> Generator[Log]:
    name = folder.resolve().name
    same_run = {"id": content_hash(str(folder.resolve())), "resume": "allow"}
    run: Any = _module("wandb").init(
        project="qrdistill", name=name, dir=str(folder), config=_config(folder), **same_run
    )
    try:
        yield lambda values, step: run.log(dict(values), step=step)
    finally:
        run.finish()


@contextmanager
def open_trackio(folder: Path) -> Generator[Log]:
    trackio: Any = _module("trackio")
    trackio.init(project="qrdistill", name=folder.resolve().name, config=_config(folder), resume="allow")
    try:
        yield lambda values, step: trackio.log({**values, "step": step})
    finally:
        trackio.finish()


def config_text(folder: Path) -> str:
    """The run's resolved config, from a run directory or the folder of one of its rounds; empty where there is none."""
    places = [folder / "config.yaml", folder.parent.parent / "config.yaml"]
    return next((place.read_text(encoding="utf-8") for place in places if place.is_file()), "")


def _config(folder: Path) -> dict[str, Any]:
    text = config_text(folder)
    parsed = parse_yaml(text, file=folder / "config.yaml")[0] if text else None
    return cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"train.track: {name} is not installed; pip install 'qrdistill[{name}]'") from error
