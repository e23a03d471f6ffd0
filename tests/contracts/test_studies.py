"""The contract of every study: one verb on a Setup, results of its own type that are a page and are read back, a sentence
of what it asks, a place in the docs."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrdistill.base.plugins import registry
from qrdistill.base.progress import Silent
from qrdistill.report.study_results import StudyResults
from qrdistill.runs.config import Config
from qrdistill.studies import STUDIES, load_study
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.study import Setup

DOCS = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STUDIES)
class TestEveryStudy:
    @pytest.fixture
    def study(self, name: str) -> Callable[[Setup], StudyResults]:
        return registry.find("studies", STUDIES[name][0])

    def test_it_takes_a_setup_and_gives_results_of_the_type_it_is_read_as(self, name: str, study: Any) -> None:
        place, results = STUDIES[name]
        [setup] = inspect.signature(study).parameters.values()
        hints = typing.get_type_hints(study)
        assert hints[setup.name] is Setup
        module = importlib.import_module(place.partition(":")[0])
        assert hints["return"] is (getattr(module, results) if results else StudyResults)
        assert issubclass(hints["return"], StudyResults)

    def test_it_says_what_it_is_and_what_it_asks(self, name: str, study: Any) -> None:
        assert study.__doc__
        assert study.__doc__.partition("\n")[0].endswith(".")
        module = inspect.getmodule(study)
        assert module is not None
        said = (module.__doc__ or "").splitlines()[0]
        assert said.startswith(f"`study {name}`: "), said
        assert said.rstrip()[-1] in ".?"

    def test_the_docs_have_it(self, name: str, study: Any) -> None:
        assert f"qrdistill study {name} " in DOCS or f"| `{name}`" in DOCS

    def test_results_without_a_figure_are_a_page_and_read_back(self, name: str, study: Any, tmp_path: Path) -> None:
        empty = typing.get_type_hints(study)["return"](study=name, title="T", question="What then?")
        written = finish(Setup(Config(), tmp_path, Silent()), empty)
        assert load_study(tmp_path / "study.json") == written
        assert type(written) is type(empty)
        assert "What then?" in (tmp_path / "report.html").read_text(encoding="utf-8")
