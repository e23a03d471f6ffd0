"""The contracts of what fills in a config: model schemes, presets, and the workbenches that studies vary tasks with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrdistill.base.errors import ModelError, QRDistillError
from qrdistill.base.plugins import registry
from qrdistill.base.plugins.presets import preset_of
from qrdistill.runs.config import Config
from qrdistill.students.find_model import comes_with_the_package, find_model
from qrdistill.studies.grid.workbench import Workbench, workbench
from qrdistill.verdicts.judges.judge import appoint


def models_of(scheme: str) -> list[str]:
    """The models of a scheme that the presets name."""
    presets = [registry.find("presets", name).sections for name in registry.bundled("presets")]
    named = [student["model"] for sections in presets for student in sections.get("students", ())]
    return [model for model in named if model.startswith(f"{scheme}:")]


@pytest.mark.parametrize("scheme", registry.bundled("model_schemes"))
class TestEveryModelScheme:
    def test_its_models_are_whole_folders_wherever_the_config_lies(self, scheme: str, tmp_path: Path) -> None:
        assert models_of(scheme)
        for model in models_of(scheme):
            folder = Path(find_model(model, tmp_path))
            assert folder.is_absolute()
            assert find_model(model, Path("elsewhere")) == str(folder)
            assert json.loads((folder / "config.json").read_text())["model_type"]
            assert {"tokenizer.json", "model.safetensors"} <= {file.name for file in folder.iterdir()}
            assert comes_with_the_package(model)

    @pytest.mark.parametrize("name", ["", "nobody", "../../etc", "a/b", "\x00", "mistral-tiny "])
    def test_an_unknown_name_is_said_with_those_that_are_known(self, scheme: str, name: str, tmp_path: Path) -> None:
        with pytest.raises(QRDistillError) as caught:
            find_model(f"{scheme}:{name}", tmp_path)
        assert models_of(scheme)[0].partition(":")[2] in str(caught.value)


def test_an_unknown_scheme_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown scheme 'nowhere'"):
        find_model("nowhere:x", tmp_path)


@pytest.mark.parametrize("name", registry.bundled("presets"))
class TestEveryPreset:
    def test_it_is_a_whole_config_of_its_task(self, name: str) -> None:
        preset = registry.find("presets", name)
        assert preset.task == name
        assert registry.knows("tasks", preset.task)
        assert preset_of(preset.task) is preset
        assert set(preset.sections) <= set(Config.model_fields) - {"questions"}
        config = Config.model_validate({"questions": {"task": preset.task}})
        assert (
            config.model_dump()
            == Config.model_validate({**preset.sections, "questions": {"task": preset.task}}).model_dump()
        )
        assert appoint(config.filter, config.teachers)
        for student in config.students:
            assert Path(find_model(student.model, Path())).is_dir()

    def test_what_the_user_gives_counts_and_the_preset_stays(self, name: str) -> None:
        preset = registry.find("presets", name)
        before = json.dumps(preset.sections)
        mine = {"questions": {"task": preset.task}, "name": "mine", "filter": {"votes": 3}}
        config = Config.model_validate(mine)
        assert (config.name, config.filter.votes) == ("mine", 3)
        assert config.filter.judges == Config.model_validate({"questions": {"task": preset.task}}).filter.judges
        assert json.dumps(preset.sections) == before


@pytest.mark.parametrize("name", registry.bundled("workbenches"))
class TestEveryWorkbench:
    @pytest.fixture
    def bench(self, name: str) -> Workbench:
        found = workbench(name)
        assert found is not None
        return found

    def test_its_scenarios_are_conditions_of_its_task(self, name: str, bench: Workbench) -> None:
        scenarios = bench.scenarios()
        assert len({one for one, _, _ in scenarios}) == len(scenarios) > 1
        for _, title, options in scenarios:
            assert title.strip()
            config = Config.model_validate({"questions": {"task": name, "options": dict(options)}})
            assert config.questions.options == dict(options)

    def test_its_teachers_and_judges_are_sections_of_a_config(self, name: str, bench: Workbench) -> None:
        teachers = [bench.teacher("one", strength={}, coverage=0.5), bench.teacher("two", strength={}, coverage=1.0)]
        config = Config.model_validate(
            {"questions": {"task": name}, "teachers": teachers, "filter": {"judges": [bench.judge(0.25)]}}
        )
        assert [teacher.name for teacher in config.teachers] == ["one", "two"]
        [(judge, _)] = appoint(config.filter, config.teachers)
        assert judge.error_rate == 0.25  # type: ignore[union-attr]

    def test_its_students_are_there_and_so_is_a_second_base_once(self, name: str, bench: Workbench) -> None:
        students = bench.students(Config.model_validate({"questions": {"task": name}}))
        assert len(students) >= 2
        for model in students.values():
            assert Path(find_model(model, Path())).is_dir()
            second = bench.second_base(model)
            assert second is None or (Path(find_model(second, Path())).is_dir() and bench.second_base(second) is None)
        assert any(bench.second_base(model) for model in students.values())
