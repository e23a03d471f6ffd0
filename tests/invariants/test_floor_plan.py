"""The house rules that a tool can check: rooms of a size, names that stay in their room."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "qrdistill"
MODULES = sorted(SOURCE.rglob("*.py"))
Parsed = dict[Path, tuple[str, list[ast.AST]]]
LONG_FUNCTIONS: dict[str, str] = {}  # name -> why it is longer than a screen


def names(module: Path) -> str:
    return str(module.relative_to(SOURCE))


@pytest.fixture(scope="module")
def parsed() -> Parsed:
    """The text and the nodes of every module."""
    texts = {module: module.read_text("utf-8") for module in MODULES}
    return {module: (text, list(ast.walk(ast.parse(text)))) for module, text in texts.items()}


def test_no_folder_is_a_drawer() -> None:
    held = Counter(module.parent for module in MODULES if module.name != "__init__.py")
    full = [f"{folder.name} holds {count} modules" for folder, count in held.items() if count > 15]
    assert not full, "which of them belong together?"


def test_files_and_functions_can_be_held_in_the_head(parsed: Parsed) -> None:
    for module, (text, nodes) in parsed.items():
        assert text.count("\n") <= 420, f"{names(module)} has {text.count(chr(10))} lines"
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in LONG_FUNCTIONS:
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                assert lines <= 80, (
                    f"{names(module)}: {node.name} has {lines} lines; divide it, or give the reason here"
                )


def test_no_private_name_crosses_a_folder(parsed: Parsed) -> None:
    for module, (_, nodes) in parsed.items():
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qrdistill"):
                private = [alias.name for alias in node.names if re.match(r"_[a-z]", alias.name)]
                home = (node.module or "").split(".")[1:]
                same = list(module.relative_to(SOURCE).parent.parts)[:1] == home[:1]
                assert same or not private, f"{names(module)} takes {private} from {node.module}"


def test_formatting_is_never_switched_off(parsed: Parsed) -> None:
    assert [names(module) for module, (text, _) in parsed.items() if "fmt: skip" in text] == []


def test_tensor_suffixes_have_their_legend(parsed: Parsed) -> None:
    for module, (text, _) in parsed.items():
        used = {letter for name in re.findall(r"\b[a-z]\w*_([A-Z]{1,3}1?)\b", text) for letter in name}
        head = text[: text.find('"""', text.find('"""') + 3)]
        missing = sorted(letter for letter in used - {"1"} if not re.search(rf"\b{letter}\b", head))
        assert not missing, f"{names(module)} uses the suffixes {missing} without a legend in its docstring"
