"""The one interface of engines, and the one that opens them: late, checked, and closed again.

An engine is opened for one student, when it is first asked something. One that has weights of its own is first
compared with the trained student (`engines.check`): stale weights write fluent text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from qrdistill.base.plugins import registry
from qrdistill.base.progress import Progress
from qrdistill.students.config import StudentConfig
from qrdistill.students.engines.config import CheckedEngine, EngineConfig
from qrdistill.students.engines.preflight import check_engine

if TYPE_CHECKING:
    from qrdistill.students.decode.decode import Completion
    from qrdistill.students.engines.check import Proof
    from qrdistill.students.student import Student
    from qrdistill.students.tokens import Encoded


class Writer(Protocol):
    def __call__(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        """`samples` completions per prompt, in order; temperature 0 is greedy. They end before any of the `stop` texts."""
        ...


@runtime_checkable
class Measures(Protocol):
    """A writer that may know the log-probabilities of given tokens.

    measured_here: those of its completions are this process's own measurement, which proves nothing of the engine.
    """

    measured_here: bool

    def log_probabilities(self, paths: Sequence[Encoded]) -> list[list[float]] | None:
        """Of every response token, in nats; None where it cannot tell."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A writer that holds something: a model, a folder, a connection."""

    def close(self) -> None: ...


@dataclass
class Surroundings:
    """Where an engine works. batch_size: prompts that it may answer at once; seed: of what it draws itself."""

    settings: StudentConfig
    base_dir: Path
    device: str
    seed: int
    progress: Progress
    batch_size: int = 64
    _student: Student | None = field(default=None, init=False)

    def student(self) -> Student:
        """The student as it was trained, loaded once."""
        if self._student is None:
            from qrdistill.students.loading import load_student

            self._student = load_student(
                self.settings, base_dir=self.base_dir, device=self.device, seed=self.seed, progress=self.progress
            )
        return self._student

    def forget(self) -> None:
        """Frees the student's memory."""
        self._student = None


Opener = Callable[[StudentConfig, EngineConfig, Surroundings], Writer]


class Engine:
    """A `Writer` that opens its engine when it is first asked, and proves its weights before it passes text on."""

    def __init__(self, config: EngineConfig, around: Surroundings, *, key: str = "evaluate.engine") -> None:
        self._config, self._around = config, around
        check_engine(config, key)
        self._open: Opener = registry.find("engines", config.kind, key=f"{key}.kind")
        self._writer: Writer | None = None
        self._proof: Proof | None = None

    @property
    def name(self) -> str:
        """The student's."""
        return self._around.settings.name

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self._writer, Closes):
            self._writer.close()
        self._writer = None
        self._around.forget()

    def __call__(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Completion]]:
        if not prompts:
            return []
        writer = self._writer or self._opened(prompts)
        written = writer(prompts, max_tokens=max_tokens, samples=samples, temperature=temperature, seed=seed, stop=stop)
        if temperature > 0 and self._proof:
            self._proof.check_sampling(prompts, written, temperature, max_tokens)
        return written

    def _opened(self, prompts: Sequence[str]) -> Writer:
        from qrdistill.students.engines.check import Proof

        config, around = self._config, self._around
        checked = isinstance(config, CheckedEngine)
        self._proof = Proof(around, config, prompts) if checked and config.check else None
        self._writer = self._open(around.settings, config, around)
        if self._proof:
            self._proof.check(self._writer)
        elif checked:
            around.progress.warn(
                f"{around.settings.name}: engine {config.kind} has `check: false`: nobody has compared its weights with "
                "the trained student's"
            )
        return self._writer
