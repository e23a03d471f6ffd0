"""A training started by Ray Train: the same loop on each of its processes, started again when one of them dies."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError, Interrupted, QRDistillError
from qrdistill.base.store import write_json
from qrdistill.compute.cluster import Cluster

_RESTARTS = 3  # after a process that died; nodes that are taken away are not counted


def train_on_ray(found: Cluster, loop: Callable[[], None], scratch: Path) -> None:
    """Runs `loop` on as many processes as the config names, joined as by torchrun (RANK, WORLD_SIZE, ...).

    `scratch` is a folder that all nodes see. `loop` goes on from where it was by itself. Raises what it raised, as a
    QRDistillError with its message and exit code.
    """
    found.connect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError

        logging.getLogger("ray.train").setLevel(logging.ERROR)
        config, told = found.config, scratch / "told.json"
        trainer = TorchTrainer(
            _on_each,
            train_loop_config={"loop": loop, "told": str(told)},
            scaling_config=ScalingConfig(
                num_workers=config.processes,
                use_gpu=config.gpus > 0,
                resources_per_worker={"CPU": config.cpus, **({"GPU": config.gpus} if config.gpus else {})},
            ),
            run_config=RunConfig(
                name="training",
                storage_path=str(scratch),  # otherwise in the user's home
                failure_config=FailureConfig(max_failures=_RESTARTS),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            first = str(error.__cause__ or error).strip().partition("\n")[0]
            raise QRDistillError(
                f"Ray Train gave the training up after {_RESTARTS} restarts ({first}); the same command goes on"
            ) from error
    if told.exists():
        answer = json.loads(told.read_text())
        error = QRDistillError(answer["message"])
        error.exit_code = answer["code"]
        raise error


def _on_each(settings: dict[str, Any]) -> None:
    _join_anew()
    try:
        settings["loop"]()
    except (InputError, Interrupted) as error:  # another try would end alike
        write_json(Path(settings["told"]), {"code": error.exit_code, "message": str(error)})


def _join_anew() -> None:
    """Leaves the process group that Ray made, whose port is taken, and names a free one for our own."""
    import socket

    import torch.distributed as dist

    if not dist.is_initialized():
        return
    found: list[Any] = [None]
    if dist.get_rank() == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            found = [free.getsockname()[1]]
    dist.broadcast_object_list(found)
    dist.barrier()
    dist.destroy_process_group()
    os.environ["MASTER_PORT"] = str(found[0])
