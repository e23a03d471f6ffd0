"""study.json is read back as it was written, compressed or not, and refused where it is something else."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from qrdistill.base.errors import InputError
from qrdistill.report.study_results import Condition, StudyResults
from qrdistill.studies import STUDIES, load_study
from qrdistill.studies.samples import SamplesResults


def written(folder: Path, result: StudyResults) -> Path:
    file = folder / "study.json"
    file.write_text(result.model_dump_json())
    return file


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_is_read_as_its_own_type(study: str, tmp_path: Path) -> None:
    found = load_study(written(tmp_path, StudyResults(study=study, conditions={"c": Condition(title="C")})))
    assert found.study == study
    assert found.conditions["c"].title == "C"
    assert (type(found) is StudyResults) == (not STUDIES[study][1])


def test_a_compressed_file_is_the_same_study(tmp_path: Path) -> None:
    result = SamplesResults(study="samples", shares={"share30": 0.3})
    file = written(tmp_path, result)
    packed = tmp_path / "study.json.xz"
    packed.write_bytes(lzma.compress(file.read_bytes()))
    assert load_study(packed) == load_study(file) == result


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"study": "ablation", "seeds": [0]}', "study.json of version 1, this is version 2; run the study again"),
        ('{"version": 2, "study": "ablation", "arm": {}}', "arm"),
        ("{", "no readable study.json"),
        ("\xfd7zXZ", "no readable study.json"),
        ("[]", "no readable study.json"),
    ],
)
def test_what_is_no_study_says_so_with_its_name(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=said) as caught:
        load_study(file)
    assert str(file) in str(caught.value)
    with pytest.raises(InputError, match="no readable study"):
        load_study(tmp_path / "none.json")


def test_an_unknown_study_s_figures_are_read_by_what_all_have_in_common(tmp_path: Path) -> None:
    file = written(tmp_path, StudyResults(study="mine"))
    assert load_study(file).study == "mine"
    data = {**json.loads(file.read_text()), "against_full": []}
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match="against_full"):
        load_study(file)
