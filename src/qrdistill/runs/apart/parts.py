"""Parts of a run that other processes do, on a cluster: a training, or all that asks nobody for anything.

Requests are sent by the process that started the command alone, beside the reply cache: a node that dies takes no
reply along. Everything else goes on elsewhere from the run directory, which all nodes see.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qrdistill.base.errors import QRDistillError
from qrdistill.base.store import temporary_folder
from qrdistill.compute.ray_train import train_on_ray
from qrdistill.compute.workers import Overheard
from qrdistill.runs.context import Context
from qrdistill.runs.manifest import Manifest
from qrdistill.runs.stages import Stage

if TYPE_CHECKING:
    from qrdistill.compute.ray_workers import RayWorkers

_LET_GO = 60.0  # seconds until a killed process's lock is free, also on a file system that hears of it late


def train_apart(context: Context, stage: Stage, workers: RayWorkers) -> None:
    """Has Ray Train do a training stage, and says what it warned of."""
    folder = context.folder.absolute()
    context.progress.log(f"{stage.name}: started by Ray Train ({workers.config.processes} processes)")
    with temporary_folder(folder / "training") as scratch:
        train_on_ray(workers.cluster, partial(_train, str(folder), stage.name, stage.group), scratch)
    record = Manifest(folder).stages.get(stage.name, {})
    if record.get("state") != "done":
        raise QRDistillError(f"{stage.name} ended without a result; the same command goes on from its checkpoint")
    for warning in record.get("warnings", ()):
        context.progress.warn(warning)


def _train(folder: str, name: str, until: str) -> None:
    from qrdistill.runs.pipeline import Part, run

    part = Part(lambda stage: stage.name == name, patience=_LET_GO)
    run(Path(folder) / "config.yaml", folder, ["compute.kind=local"], until=until, part=part)


def run_apart(folder: str, until: str, share: str) -> tuple[int, str, list[str]]:
    """Does what of a run asks nobody; exit code, message and warnings. Runs in a process of the cluster."""
    from qrdistill.base.untrusted.redact import redact
    from qrdistill.runs.pipeline import Part, run

    heard = Overheard()
    part = Part(lambda stage: not stage.asks, replies=_scratch_replies(), patience=_LET_GO)
    code, message = 0, ""
    try:
        run(Path(folder) / "config.yaml", folder, until=until, share=Path(share), progress=heard, part=part)
    except QRDistillError as error:
        code, message = error.exit_code, redact(str(error))
    return code, message, [text for how, text in heard.said if how == "warn"]


def _scratch_replies() -> Path:
    """A cache of this machine's own, for what untrained students answer: SQLite and network disks do not go together."""
    folder = Path(tempfile.gettempdir()) / f"qrdistill-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="qrdistill-"))
    return folder / "replies.sqlite"
