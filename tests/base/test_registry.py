"""The one look-up of names: what comes with the package, what others declare, and `module:function`."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins import registry


@pytest.mark.parametrize("group", registry.GROUPS)
def test_everything_that_is_declared_loads(group: str) -> None:
    for name in registry.bundled(group):
        assert registry.find(group, name) is not None, name


def test_an_unknown_name_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        registry.find("encoders", "hashin", key="encoder.kind")
    assert str(caught.value) == (
        "encoder.kind: unknown kind 'hashin'; did you mean 'hashing'? known: 'hashing', 'huggingface', "
        "or module:function"
    )


def test_a_function_of_a_module_needs_no_declaration() -> None:
    assert registry.find("tasks", "pathlib:Path") is Path
    with pytest.raises(ConfigError, match=r"cannot import 'pathlib:Pth': .* on PYTHONPATH"):
        registry.find("tasks", "pathlib:Pth")
    with pytest.raises(ConfigError, match="cannot import 'no_such_module:f'"):
        registry.find("judges", "no_such_module:f")


def declare(folder: Path, package: str, text: str) -> None:
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(text)


def test_an_installed_package_adds_names_and_changes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "one", "[qrdistill.tasks]\npaths = pathlib:Path\nhub = pathlib:Path\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.find("tasks", "paths") is Path
    assert registry.names("tasks")[-1] == "paths"
    assert registry.find("tasks", "hub") is not Path
    declare(tmp_path, "two", "[qrdistill.tasks]\nlost = pathlib:Pth\n")
    monkeypatch.syspath_prepend(str(tmp_path / "."))  # looked for anew
    with pytest.raises(ConfigError, match=r"cannot import 'lost' \(pathlib:Pth of two\)"):
        registry.find("tasks", "lost")


def test_a_name_that_two_packages_declare_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, "one", "[qrdistill.tasks]\nmine = pathlib:Path\n")
    declare(tmp_path, "two", "[qrdistill.tasks]\nmine = pathlib:PurePath\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="task 'mine' is declared twice"):
        registry.find("tasks", "mine")
