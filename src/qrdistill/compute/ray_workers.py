"""The workers of a Ray cluster, by Ray Data: a row of a data set is an item, a block holds one row.

Ray Data runs as many tasks as there are CPUs, takes back what the driver is too slow for, and gives a dead node's
tasks to another one. Order is kept, so the driver holds no more than the results that run ahead.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa

from qrdistill.base.errors import QRDistillError
from qrdistill.base.progress import Progress
from qrdistill.compute.cluster import Cluster, cluster
from qrdistill.compute.config import ComputeConfig
from qrdistill.compute.workers import Overheard

T = TypeVar("T")
R = TypeVar("R")
_KEPT = 4  # works that a worker keeps: those of the stage that goes on, and of the one before
_here: dict[str, Any] = {}  # in a worker: what it was sent, by reference


@contextmanager
def workers_of(config: ComputeConfig) -> Generator[RayWorkers | None]:
    """None for `local`: then nothing of Ray is touched. Raises InputError where Ray is asked for and not installed."""
    if config.kind == "local":
        yield None
        return
    with cluster(config) as found:
        yield RayWorkers(found)


class RayWorkers:
    def __init__(self, found: Cluster) -> None:
        self.cluster, self.config = found, found.config

    def map(
        self, work: Callable[[T, Progress], R], items: Sequence[T], *, progress: Progress, gpu: bool = False
    ) -> Iterator[R]:
        if not items:
            return
        self.cluster.connect()
        import ray.cloudpickle
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        settings = ray.data.DataContext.get_current()
        settings.execution_options.preserve_order = True
        settings.enable_progress_bars = False
        settings.issue_detectors_config.detectors = []  # they warn of slow tasks on the terminal
        # by value, so that a function of a script or notebook may be the work; once, however many items there are
        sent = self.cluster.ray.put(ray.cloudpickle.dumps(work))
        rows = [{"item": ray.cloudpickle.dumps(item)} for item in items]
        share: Any = self.cluster.share if gpu else {"num_cpus": self.config.cpus}
        data = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Apply(sent), batch_size=1, batch_format="pyarrow", **share
        )
        batches: Any = data.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0)
        for batch in batches:
            said, result, error = pickle.loads(batch["done"][0].as_py())
            Overheard(said).repeat(progress)
            if error is not None:
                raise _unpacked(*error)
            yield result


class _Apply:
    """What a task does with its block."""

    def __init__(self, sent: Any) -> None:
        self._sent = sent

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = [self._one(item.as_py()) for item in batch["item"]]
        return pa.table({"done": pa.array(done, pa.large_binary())})

    def _one(self, packed: bytes) -> bytes:
        import ray.cloudpickle

        progress = Overheard()
        result, error = None, None
        try:
            result = self._work()(pickle.loads(packed), progress)
        except QRDistillError as raised:
            error = type(raised), raised.args, vars(raised)
        return ray.cloudpickle.dumps((progress.said, result, error))

    def _work(self) -> Any:
        import ray

        name = self._sent.hex()
        if name not in _here:
            while len(_here) >= _KEPT:
                del _here[next(iter(_here))]
            _here[name] = pickle.loads(ray.get(self._sent))
        return _here[name]


def _unpacked(kind: type[QRDistillError], arguments: tuple[Any, ...], fields: dict[str, Any]) -> QRDistillError:
    """The error as it was raised: its own arguments are not those that its class takes."""
    error = kind.__new__(kind)
    error.args = arguments
    vars(error).update(fields)
    return error
