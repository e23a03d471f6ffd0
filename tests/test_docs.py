"""The documentation's links lead somewhere, and the code that it names exists."""

import importlib
import re
from pathlib import Path
from typing import Any, get_args

from qrdistill.base.settings import Settings
from qrdistill.runs.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FOLDERS = sorted(path.parent.name for path in (ROOT / "src/qrdistill").glob("*/__init__.py"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAME = re.compile(rf"`((?:{'|'.join(FOLDERS)})(?:\.\w+)+)")
FILES = (".parquet", ".jsonl", ".json", ".html", ".yaml", ".sqlite", ".md", ".py")


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere() -> None:
    links = [(page, target) for page in PAGES for target in LINK.findall(page.read_text("utf-8"))]
    for page, target in links:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), f"{page.name} links to {target}, which is not there"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{page.name} links to {target}, but {place.name} has no such title"


def is_code(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["qrdistill", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part) and part not in getattr(found, "__dataclass_fields__", {}):
                return part in getattr(found, "model_fields", {})
            found = getattr(found, part, None)
        return True
    return False


def is_key(name: str) -> bool:
    """Whether a config has this key: `train.steps`, `students.learning_rate`."""
    models: list[Any] = [Config]
    for part in name.split("."):
        kinds = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        if not kinds:
            return False
        models = [inner for kind in kinds for inner in settings_in(kind)]
    return True


def settings_in(kind: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, Settings):
        return [kind, *settings_below(kind)]
    return [found for inner in get_args(kind) for found in settings_in(inner)]


def settings_below(kind: type[Settings]) -> list[type[Settings]]:
    return [found for child in kind.__subclasses__() for found in [child, *settings_below(child)]]


def test_the_code_that_is_named_exists() -> None:
    files = [file for file in (*PAGES, *SOURCES) if file.name not in ("CHANGELOG.md", "log.md")]  # they name what was
    named = [(name, file.name) for file in files for name in NAME.findall(file.read_text("utf-8"))]
    assert len(named) > 40
    for name, file in dict(named).items():
        if name.endswith(FILES) or any(f"{end[1:]}" in name.split(".") for end in FILES):
            continue
        assert is_code(name) or is_key(name), f"{file} names `{name}`, which is neither code nor a config key"
