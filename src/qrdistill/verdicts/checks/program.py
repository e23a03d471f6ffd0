"""The `program` check: does a path's own code print the answer that the path states?"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from qrdistill.base.errors import ConfigError
from qrdistill.verdicts.checks import sandbox
from qrdistill.verdicts.open_case import Case, Finding

_FENCE = "```"
# unfenced text that is searched for a program: the search is quadratic
_MOST_LINES = 60
_MOST_CHARACTERS = 6000


def find_code(text: str) -> str | None:
    """The Python program in a path: its fenced blocks, or the longest run of lines that is one.

    >>> find_code("So:\\n```python\\nprint(3 + 4)\\n```\\nThe answer is 7.")
    'print(3 + 4)\\n'
    >>> find_code("x = 3 + 4\\nprint(x)\\nThe answer is 7.")
    'x = 3 + 4\\nprint(x)'
    """
    blocks = _fenced(text)
    named = [code for language, code in blocks if language in ("python", "py", "python3")]
    if named or blocks:
        return "".join(named or [code for language, code in blocks if not language]) or None
    lines = text[:_MOST_CHARACTERS].splitlines()[:_MOST_LINES]
    for length in range(len(lines), 0, -1):
        for start in range(len(lines) - length + 1):
            code = "\n".join(lines[start : start + length])
            if "print(" in code and _parses(code):
                return code.strip("\n")
    return None


def _fenced(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block that is closed, in time linear in the text."""
    blocks: list[tuple[str, str]] = []
    language: str | None = None
    inside: list[str] = []
    for line in text.split("\n"):
        stripped = line.strip(" \t")
        if not stripped.startswith(_FENCE):
            inside.append(line)
        elif language is None:
            word = re.match(r"\w*", stripped.removeprefix(_FENCE).lstrip(" \t"))
            language, inside = (word[0] if word else "").lower(), []
        else:
            blocks.append((language, "".join(f"{each}\n" for each in inside)))
            language = None
    return blocks


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def require_sandbox() -> None:
    """Raises ConfigError where nothing would hold a program."""
    if not sandbox.available():
        raise ConfigError(
            "programs can be run only where Linux's seccomp can hold them (x86-64 or arm64); "
            "leave it off, or filter on such a machine",
            key="filter.program",
        )


def program(cases: Sequence[Case]) -> list[Finding | None]:
    """Runs the code of program-style paths in the sandbox; other styles pass unseen.

    Dropped: code that ends in an error of its own, or prints another answer than the path states.
    Undecided: no code, nothing printed, no stated answer, or code that the sandbox stopped.
    """
    require_sandbox()
    codes = {index: find_code(case.path.text) for index, case in enumerate(cases) if case.path.style == "program"}
    found = [(index, code) for index, code in codes.items() if code]
    executions = dict(
        zip((index for index, _ in found), sandbox.run_programs([code for _, code in found]), strict=True)
    )
    return [None if index not in codes else _finding(case, executions.get(index)) for index, case in enumerate(cases)]


def _finding(case: Case, execution: sandbox.Execution | None) -> Finding:
    if execution is None:
        return Finding("undecided", "no code found")
    if execution.ending == "failed":
        return Finding("drop", f"the code ends in {execution.detail}")
    if execution.ending != "finished":
        return Finding("undecided", f"the sandbox stopped the code: {execution.detail}")
    from qrdistill.answers.check import canonical, extract

    question = case.question
    printed = canonical(question, extract(question, execution.output).answer)
    stated = canonical(question, extract(question, case.path.text).answer)
    if printed is None or stated is None:
        return Finding("undecided", "nothing readable printed" if printed is None else "no stated answer")
    if printed != stated:
        return Finding("drop", f"the code prints {printed}, the path states {stated}")
    return Finding("keep")
