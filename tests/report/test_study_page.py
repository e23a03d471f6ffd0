import json
import re

import pytest
from pydantic import ValidationError

from qrdistill.report.study_page import write_study_report
from qrdistill.report.study_results import StudyResults

HOSTILE = "<script>alert(1)</script>"


def estimate(value, n=5):
    return {"estimate": value, "low": value - 0.02, "high": value + 0.02, "n": n}


@pytest.fixture
def results():
    arms = (("base", "untrained", "baseline", 0.6), ("new", "learned", "part", 0.8), ("all", "all", "baseline", 0.7))
    figures = {
        name: {
            "tuned": "lr x 0.3",
            "styled": estimate(value),
            "students": {"a": {"styled": value, "tokens": 123456.0}},
        }
        for name, _, _, value in arms
    }
    seeds = {"n": 5, "positive": 5, "over": "seeds", "by_seed": [0.1] * 5}
    comparisons = [
        {**seeds, "first": "new", "second": "base", "difference": 0.2, "low": 0.1, "high": 0.3},
        {**seeds, "first": "all", "second": "base", "difference": 0.1, "low": -0.1, "high": 0.3, "positive": 3},
    ]
    return {
        "study": "ablation",
        "title": f"What helps? {HOSTILE}",
        "question": "Each part off, one at a time.",
        "findings": [f"Learned routing helps. {HOSTILE}"],
        "caveats": ["Two tiny students."],
        "provenance": {"command": "qrdistill study ablation", "commit": "abc"},
        "arms": {name: {"title": f"{title} {HOSTILE}", "group": group} for name, title, group, _ in arms},
        "conditions": {"even": {"title": "even", "arms": figures, "comparisons": comparisons}},
        "parts": [
            {
                "title": "Routing",
                "text": ["It follows style."],
                "charts": [
                    {
                        "kind": "curves",
                        "caption": "similarity",
                        "x": "step",
                        "y": "CKA",
                        "lines": [{"label": "with", "x": [0, 1], "y": [0.5, 0.6]}],
                    },
                    {
                        "kind": "heat",
                        "caption": "shares",
                        "rows": ["a"],
                        "edges": [0, 1],
                        "panels": [{"label": "p", "cells": [[0.4]]}],
                    },
                    {"kind": "dots", "caption": "points", "dots": {"x": estimate(0.5)}},
                ],
                "tables": [{"title": "T", "columns": ["a", "b"], "rows": [["x", 1.5], [None, HOSTILE]]}],
            }
        ],
        "warnings": [HOSTILE],
        "config_text": f"name: x # {HOSTILE}",
    }


def test_the_study_s_page(results, tmp_path):
    whole = write_study_report(StudyResults.model_validate(results), tmp_path / "study.html").read_text()
    html = re.sub("<script.*?</script>", "", whole, flags=re.DOTALL)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8
    assert "60.0\u202f%" in html
    assert "123\u202f456" in html
    assert html.count("first is better") == 1
    assert html.count('<span class="undecided">no</span>') == 1
    # arms stand by group, in the order of the groups
    table = html.partition('id="arms"')[2].partition("<tbody>")[2]
    assert table.index("untrained") < table.index(">all ") < table.index(">part<") < table.index("learned")
    data = json.loads(re.search('id="charts-data">([^<]*)<', whole)[1])
    kinds = {place: [box["kind"] for box in boxes] for place, boxes in data.items()}
    assert kinds == {"differences": ["estimates"], "arms": ["estimates"], "part-0": ["curves", "heat", "estimates"]}
    assert sorted(re.findall('data-charts="([^"]*)"', html)) == sorted(kinds)
    assert whole.count("<script") == 3  # the data, the library, ours


def test_results_survive_json_and_give_the_same_bytes(results, tmp_path):
    study = StudyResults.model_validate(results)
    again = StudyResults.model_validate(json.loads(study.model_dump_json()))
    first = write_study_report(study, tmp_path / "a.html").read_bytes()
    assert write_study_report(again, tmp_path / "b.html").read_bytes() == first


def test_little_is_needed(tmp_path):
    html = write_study_report(StudyResults(study="x", title="X"), tmp_path / "x.html").read_text()
    assert "No finding is stated" in html


@pytest.mark.parametrize(
    "change",
    [{"arm": []}, {"version": 1}, {"seeds": [0.5]}, {"parts": [{"title": "p", "tables": [{"title": "t"}]}]}],
    ids=["an unknown field", "another version", "half a seed", "half a table"],
)
def test_what_does_not_fit_is_refused(results, change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        StudyResults.model_validate({**results, **change})


def test_a_figure_that_is_not_a_number_is_refused(results):
    results["conditions"]["even"]["arms"]["new"]["styled"]["low"] = float("-inf")
    with pytest.raises(ValidationError, match="finite"):
        StudyResults.model_validate(results)
