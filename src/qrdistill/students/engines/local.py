"""The engine `local`: the student itself, in this process, by `students.decode`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qrdistill.students.config import StudentConfig
from qrdistill.students.engines.config import EngineConfig
from qrdistill.students.engines.engine import Surroundings

if TYPE_CHECKING:
    from qrdistill.students.decode.decode import Completion
    from qrdistill.students.student import Student


@dataclass(frozen=True)
class LocalWriter:
    """A loaded student as an engine; it repeats bit for bit."""

    student: Student
    batch_size: int = 64

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
        from qrdistill.students.decode.decode import decode

        return decode(
            self.student,
            prompts,
            max_tokens=max_tokens,
            batch_size=self.batch_size,
            temperature=temperature,
            seed=seed,
            samples=samples,
            stop=stop,
        )


def open_local(settings: StudentConfig, config: EngineConfig, around: Surroundings) -> LocalWriter:
    return LocalWriter(around.student(), around.batch_size)
