import re
import tomllib
from pathlib import Path

import pytest

import qrdistill


@pytest.mark.parametrize("name", qrdistill.__all__)
def test_everything_exported_is_there(name):
    assert getattr(qrdistill, name) is not None


def test_dir_lists_what_is_public():
    assert dir(qrdistill) == sorted(qrdistill.__all__)


def test_anything_else_is_not():
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = qrdistill.runn


def test_every_dependency_is_pinned() -> None:
    """The set-up of today gives the same versions next year: whatever pyproject names has a line in constraints.txt."""
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {re.split(r"[\[><=!~; ]", line)[0].lower() for line in wanted} - {
        "qrdistill",
        "vllm",
    }  # vllm brings the torch that it was built with
    pinned = {
        line.split("==")[0].lower() for line in (root / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names <= pinned, f"pin in constraints.txt: {', '.join(sorted(names - pinned))}"
