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
value, then the mend. It never contains an API key (see `qrdistill.base.untrusted.redact` and
`qrdistill.base.untrusted.secrets`), no character that a terminal obeys, and, for input, fewer than 500 characters.
"""

from __future__ import annotations

from pathlib import Path

from qrdistill.base.untrusted.secrets import hide_keys


class QRDistillError(Exception):
    """Base of the tree; `exit_code` is what the command line returns."""

    exit_code = 1


class InputError(QRDistillError):
    exit_code = 2


def _shown(text: str, limit: int) -> str:
    """Fit for a terminal: pasted keys hidden, odd characters escaped, the middle of a long text left out."""
    text = "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in hide_keys(text[: limit * 20])
    )
    return text if len(text) <= limit else f"{text[: limit * 2 // 3]} ... {text[-(limit // 3 - 5) :]}"


def _placed(file: Path | str | None, line: int | None, parts: list[str]) -> str:
    name = None if file is None else _shown(str(file), 180)
    place = ":".join(str(part) for part in (name, line) if part is not None)
    before = ": ".join(part for part in (place, *parts[:-1]) if part)
    return ": ".join(part for part in (before, _shown(parts[-1], 490 - len(before))) if part)


class ConfigError(InputError):
    """A config key cannot be used.

    `key` is the dotted path (`teachers.0.kind`), `line` counts from 1 and is None for `--set`.
    """

    def __init__(self, message: str, *, key: str = "", file: Path | str | None = None, line: int | None = None) -> None:
        self.message, self.key, self.file, self.line = message, key, file, line
        super().__init__(_placed(file, line, [_shown(key, 100).replace("\n", "\\n"), message]))


class DataError(InputError):
    """A line of a data file cannot be used; `line` counts from 1."""

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        self.message, self.file, self.line = message, file, line
        super().__init__(_placed(file, line, [message]))


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
