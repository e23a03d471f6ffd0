"""How long work tells where it is: one small protocol, silent by default.

The command line passes a rich or a plain-line implementation (`qrdistill.cli`); library users pass
their own or nothing.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    def start(self, stage: str, total: int | None = None) -> None:
        """A stage begins; `total` is its number of steps where known."""

    def advance(self, steps: int = 1, **facts: object) -> None:
        """Steps done; `facts` are short live figures (loss=0.41, usd="0.12")."""

    def done(self, **facts: object) -> None:
        """The stage ended; `facts` are its closing figures."""

    def log(self, message: str) -> None: ...

    def warn(self, message: str) -> None:
        """Something the user should see even after the run: shown, and kept in the manifest."""


class Silent:
    """Says nothing, remembers warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def start(self, stage: str, total: int | None = None) -> None: ...
    def advance(self, steps: int = 1, **facts: object) -> None: ...
    def done(self, **facts: object) -> None: ...
    def log(self, message: str) -> None: ...
    def warn(self, message: str) -> None:
        self.warnings.append(message)


class Aside:
    """Passes progress on and keeps warnings as log lines: of samples that are expected to be thinned out."""

    def __init__(self, inner: Progress) -> None:
        self.start, self.advance, self.done, self.log = inner.start, inner.advance, inner.done, inner.log

    def warn(self, message: str) -> None:
        self.log(message)
