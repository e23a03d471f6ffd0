"""Nothing outside the embedded default names it: it plugs in as any other package would."""

from __future__ import annotations

import re
from pathlib import Path

import qrdistill

SOURCE = Path(qrdistill.__file__).parent
NAMED = re.compile(r"\blab\b|_lab\b|\blab_|qrdistill\.lab|Lab(Teacher|Judge)", re.IGNORECASE)


def test_no_module_outside_it_names_it() -> None:
    files = [file for file in SOURCE.rglob("*.py") if "lab" not in file.relative_to(SOURCE).parts]
    assert len(files) > 150
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if NAMED.search(line)
    ]
    assert not found
