"""A run by several processes: the first does every stage and alone asks, pays and writes; the others train with it.

What the first calls stands in the store that all of them share: the next stage to train, or the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from qrdistill.base.errors import QRDistillError
from qrdistill.runs.config import Config
from qrdistill.training.mesh.launch import launched
from qrdistill.training.mesh.layout import choose_layout

if TYPE_CHECKING:
    from qrdistill.training.mesh.world import World

_POLL = 0.2
_FAREWELL = 10.0  # seconds that the first waits for the others to have read its last word


class Together:
    """The processes of one `torchrun`; made in all of them at once."""

    def __init__(self, world: World) -> None:
        self._world, self._calls, self._open = world, 0, True

    @property
    def leads(self) -> bool:
        return self._world.launch.first

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.end()
        elif isinstance(error, Exception):
            self.end(error.exit_code if isinstance(error, QRDistillError) else 1, str(error))

    def call(self, stage: str) -> None:
        """Has the others join a stage."""
        self._say({"stage": stage})

    def end(self, code: int = 0, message: str = "") -> None:
        """Lets the others go; the first may have more to do."""
        if not self._open:
            return
        self._open = False
        self._say({"end": code, "message": message})
        store, others = self._world.store, range(1, self._world.size)
        until = time.monotonic() + _FAREWELL
        while time.monotonic() < until and not store.check([f"left/{rank}" for rank in others]):
            time.sleep(_POLL / 4)
        if not code:
            self._leave()

    def follow(self, join: Callable[[str], object]) -> None:
        """Joins each stage that the first calls, until it ends.

        Raises what a stage raised here and not in the first process as well; SystemExit with the first one's code
        where it failed: it has said why.
        """
        while "end" not in (said := self._hear()):
            try:
                join(said["stage"])
            except QRDistillError as error:
                said = self._hear()
                if said.get("message") != str(error):
                    raise type(error)(f"rank {self._world.rank}: {error}") from error
                break
        code = int(said.get("end", 1))
        self._world.store.set(f"left/{self._world.rank}", "")
        if code:
            raise SystemExit(code)
        self._leave()

    def _leave(self) -> None:
        from qrdistill.training.mesh.world import leave

        leave()

    def _say(self, what: Mapping[str, Any]) -> None:
        self._world.store.set(f"call/{self._calls}", json.dumps(what))
        self._calls += 1

    def _hear(self) -> dict[str, Any]:
        key = f"call/{self._calls}"
        with self._world.watch.at("the first process's next stage", waits=False, counts=False):
            while not self._world.store.check([key]):
                time.sleep(_POLL)
        self._calls += 1
        return json.loads(self._world.store.get(key))


def together(config: Config) -> Together | None:
    """None for a process that works alone.

    Raises ConfigError where train.mesh does not fit the processes, before anything is asked or paid for.
    """
    launch = launched()
    choose_layout(config.train.mesh, world=launch.world if launch else 1, num_students=len(config.students))
    if launch is None:
        return None
    from qrdistill.training.mesh.world import joined

    world = joined(config.train.mesh.timeout)
    assert world is not None
    return Together(world)
