"""The house rules that a tool can check: rooms of a size, names that stay in their room."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "qrdistill"
MODULES = sorted(SOURCE.rglob("*.py"))
LONG_FUNCTIONS: dict[str, str] = {}  # name -> why it is longer than a screen


def names(module: Path) -> str:
    return str(module.relative_to(SOURCE))


@pytest.mark.parametrize("folder", sorted({module.parent for module in MODULES}), ids=lambda f: f.name)
def test_no_folder_is_a_drawer(folder: Path) -> None:
    modules = [module for module in folder.glob("*.py") if module.name != "__init__.py"]
    assert len(modules) <= 15, f"{folder.name} holds {len(modules)} modules; which of them belong together?"


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_files_and_functions_can_be_held_in_the_head(module: Path) -> None:
    text = module.read_text("utf-8")
    assert text.count("\n") <= 420, f"{names(module)} has {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in LONG_FUNCTIONS:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 80, f"{names(module)}: {node.name} has {lines} lines; divide it, or give the reason here"


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_no_private_name_crosses_a_folder(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qrdistill"):
            private = [alias.name for alias in node.names if re.match(r"_[a-z]", alias.name)]
            home = (node.module or "").split(".")[1:]
            same = list(module.relative_to(SOURCE).parent.parts)[:1] == home[:1]
            assert same or not private, f"{names(module)} takes {private} from {node.module}"


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_formatting_is_never_switched_off(module: Path) -> None:
    assert "fmt: skip" not in module.read_text("utf-8")


@pytest.mark.parametrize("module", MODULES, ids=names)
def test_tensor_suffixes_have_their_legend(module: Path) -> None:
    text = module.read_text("utf-8")
    used = {letter for name in re.findall(r"\b[a-z]\w*_([A-Z]{1,3}1?)\b", text) for letter in name if letter != "1"}
    if not used:
        return
    head = text[: text.find('"""', text.find('"""') + 3)]
    missing = sorted(letter for letter in used if not re.search(rf"\b{letter}\b", head))
    assert not missing, f"{names(module)} uses the suffixes {missing} without a legend in its docstring"
