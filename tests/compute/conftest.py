"""One Ray cluster of two nodes with a CPU each, on this machine, for all tests of this folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.progress import Silent
from qrdistill.compute.cluster import load_ray


class TwoNodes:
    """A head, and a second node that may be killed; `whole()` puts another one in its place."""

    def __init__(self) -> None:
        load_ray()
        from ray.cluster_utils import Cluster

        quick = {
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 1000,
            "health_check_failure_threshold": 3,
        }
        self._node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}
        self._cluster = Cluster(
            initialize_head=True, head_node_args={**self._node, "include_dashboard": False, "_system_config": quick}
        )
        self._second: Any = None

    @property
    def address(self) -> str:
        return self._cluster.address

    def whole(self) -> TwoNodes:
        if self._second is None:
            self._second = self._cluster.add_node(**self._node)
        return self

    def kill(self) -> None:
        """The second node dies as by a power cut."""
        if self._second is not None:
            self._cluster.remove_node(self._second, allow_graceful=False)
            self._second = None

    def end(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="package")  # it ends with these tests: idle, it would still cost the others time
def nodes() -> Iterator[TwoNodes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = TwoNodes()
    yield found
    found.end()


@pytest.fixture
def cluster(nodes: TwoNodes) -> TwoNodes:
    return nodes.whole()


class Striking(Silent):
    """Calls a stage's strike once, when its first step has been done; `struck`: the stages where one has been."""

    def __init__(self, strikes: dict[str, Callable[[], object]]) -> None:
        super().__init__()
        self._strikes, self._now = strikes, ""
        self.struck: list[str] = []

    def start(self, stage: str, total: int | None = None) -> None:
        self._now = stage

    def advance(self, steps: int = 1, **facts: object) -> None:
        if self._now in self._strikes and self._now not in self.struck:
            self.struck.append(self._now)
            self._strikes[self._now]()


@pytest.fixture(scope="session")
def striking() -> type[Striking]:
    return Striking


@pytest.fixture(scope="session")
def same_bytes() -> Callable[[Path, Path, list[str]], None]:
    def compare(one: Path, other: Path, names: list[str]) -> None:
        for name in names:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name

    return compare
