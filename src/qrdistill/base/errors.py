"""Everything qrdistill raises on purpose.

    QRDistillError                 exit code 1: failed, but the same command can be run again
    |-- InputError                 exit code 2: what the user gave is wrong; nothing was written
    |   |-- ConfigError            a config key (file, line, key, value, mend)
    |   |-- DataError              a line of a data file (file, line, value, mend)
    |   `-- ModelError             a model folder or hub id that cannot be used
    |-- BoundaryError              something outside failed: an API, a judge, a disk
    |   |-- TeacherError           no request can succeed (bad key, no such model)
    |   `-- BudgetError            a spending limit was reached; raise it and run again
    |-- TrainingError              a loss that is not finite, memory that ran out
    `-- Interrupted                exit code 130: Ctrl-C or SIGTERM after a safe stop

The text of an exception is meant for the user's eyes: one sentence that names the place and the
value, then the mend. It never contains an API key (see `qrdistill.base.store.redact`).
"""

from __future__ import annotations

from pathlib import Path


class QRDistillError(Exception):
    """Base of the tree; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(QRDistillError):
    exit_code = 2


class ConfigError(InputError):
    """A config key cannot be used.

    `key` is the dotted path (`teachers.0.kind`), `line` counts from 1 and is None for `--set`.
    """

    def __init__(self, message: str, *, key: str = "", file: Path | str | None = None, line: int | None = None) -> None:
        self.message, self.key, self.file, self.line = message, key, file, line
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(": ".join(part for part in (place, key, message) if part))


class DataError(InputError):
    """A line of a data file cannot be used; `line` counts from 1."""

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        self.message, self.file, self.line = message, file, line
        place = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)


class ModelError(InputError):
    pass


class BoundaryError(QRDistillError):
    pass


class TeacherError(BoundaryError):
    pass


class BudgetError(BoundaryError):
    pass


class TrainingError(QRDistillError):
    pass


class Interrupted(QRDistillError):
    exit_code = 130
