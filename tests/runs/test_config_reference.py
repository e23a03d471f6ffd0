"""Every key of a config is described, documented and used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qrdistill.base.settings import Settings
from qrdistill.runs.config import Config
from qrdistill.runs.config_reference import reference, sections_of

ROOT = Path(__file__).parents[2]
SECTIONS = {
    settings: place
    for name, field in reversed(Config.model_fields.items())
    for place, settings in sections_of(name, field)
}


def test_the_page_is_what_the_command_writes() -> None:
    """If this fails: python -m qrdistill.runs.config_reference docs/reference/config.md"""
    assert (ROOT / "docs/reference/config.md").read_text(encoding="utf-8") == reference()


def classes(base: type[Settings] = Settings) -> list[type[Settings]]:
    return [one for child in base.__subclasses__() for one in (child, *classes(child))]


@pytest.mark.parametrize("settings", [Config, *SECTIONS], ids=lambda one: one.__name__)
def test_every_section_and_key_is_described(settings: type[Settings]) -> None:
    assert settings.__doc__
    assert [name for name, field in settings.model_fields.items() if not field.description] == []


def test_no_section_is_missed() -> None:
    bases = {"TeacherBase", "Sampling", "PlainTeacher", "JudgeBase", "CheckedEngine", "Config"}
    ours = {one.__name__ for one in classes() if one.__module__.startswith("qrdistill.")}
    assert ours - bases == {one.__name__ for one in SECTIONS}


def test_every_key_is_in_the_schema() -> None:
    text = str(Config.model_json_schema())
    for settings in SECTIONS:
        for field in settings.model_fields.values():
            assert " ".join(str(field.description).split())[:30] in " ".join(text.replace("\\n", " ").split())


def used_in() -> str:
    """All examples and tests but those that only feed the reader."""
    files = [*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("tests/**/*.py")]
    skipped = ("test_config.py", "test_any_config.py", "test_config_reference.py")
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.name not in skipped)


def test_every_key_is_set_by_an_example_or_a_test() -> None:
    used = set(re.findall(r"""(\w+)["']?\s*[:=](?!=)""", used_in()))
    unused = [
        f"{place}.{name}" for settings, place in SECTIONS.items() for name in settings.model_fields if name not in used
    ]
    assert unused == []
