"""Every Protocol of the package is named in a contract suite."""

from __future__ import annotations

import re
from pathlib import Path

import qrdistill

SOURCE = Path(qrdistill.__file__).parent
INSIDE = {  # where they are tested
    "AttentionPlan": "tests/students",
    "Closes": "tests/students/engines",
    "Loader": "test_tasks.py, by load_questions",
    "Measures": "tests/students/engines",
    "TellsHealth": "tests/llm/pace",
    "Workers": "tests/compute",
}


def test_every_protocol_has_a_suite() -> None:
    texts = (file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    found = {name for text in texts for name in re.findall(r"^class (\w+)\(Protocol\)", text, re.MULTILINE)}
    assert len(found) >= 13
    suites = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py") if file != Path(__file__))
    assert {name for name in found - set(INSIDE) if not re.search(rf"\b{name}\b", suites)} == set()
