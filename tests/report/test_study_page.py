import json
import xml.etree.ElementTree as ElementTree

import pytest
from pydantic import ValidationError

from qrdistill.report.study_page import StudyResults, write_study_report

HOSTILE = "<script>alert(1)</script>"


def estimate(value, n=5):
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": n}


@pytest.fixture
def results():
    return {
        "name": "ablation",
        "title": f"What helps? {HOSTILE}",
        "question": "Each part off, one at a time.",
        "findings": [f"Learned routing helps. {HOSTILE}"],
        "caveats": ["Two tiny students."],
        "provenance": {"command": "qrdistill study ablation", "commit": "abc"},
        "metrics": [
            {"key": "styled", "label": "accuracy, told its style"},
            {"key": "free", "label": "accuracy, free"},
            {"key": "tokens", "label": "training tokens", "share": False, "plot": False},
        ],
        "arms": [
            {
                "name": name,
                "title": f"{title} {HOSTILE}",
                "group": group,
                "figures": {"styled": estimate(value), "tokens": {"value": 123456.0}},
                "facts": {"tuned": "lr x 0.3"},
            }
            for name, title, group, value in (
                ("base", "untrained", "baseline", 0.6),
                ("new", "learned", "part", 0.8),
                ("all", "all", "baseline", 0.7),
            )
        ],
        "reference": "base",
        "comparisons": [
            {"first": "new", "second": "base", "metric": "styled", "difference": 0.2, "low": 0.1, "high": 0.3, "n": 5},
            {
                "first": "all",
                "second": "base",
                "metric": "styled",
                "difference": 0.1,
                "low": -0.1,
                "high": 0.3,
                "n": 5,
                "positive": 3,
            },
        ],
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
    html = write_study_report(results, tmp_path / "study.html").read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 8
    assert "60.0\u202f%" in html
    assert "123\u202f456" in html
    assert html.count("first is better") == 1
    assert html.count('<span class="undecided">no</span>') == 1
    # arms stand by group, in the order of the groups
    table = html.partition('id="arms"')[2].partition("<tbody>")[2]
    assert table.index("untrained") < table.index(">all ") < table.index(">part<") < table.index("learned")
    drawn = [part.partition("</svg>")[0] + "</svg>" for part in html.split("<svg")[1:]]
    assert len(drawn) == 5  # one metric's estimates and differences, three charts
    for svg in drawn:
        ElementTree.fromstring("<svg" + svg)


def test_results_survive_json_and_give_the_same_bytes(results, tmp_path):
    study = StudyResults.model_validate(results)
    again = StudyResults.model_validate(json.loads(study.model_dump_json()))
    first = write_study_report(study, tmp_path / "a.html").read_bytes()
    assert write_study_report(again, tmp_path / "b.html").read_bytes() == first


def test_little_is_needed(tmp_path):
    html = write_study_report({"name": "x", "title": "X"}, tmp_path / "x.html").read_text()
    assert "No finding is stated" in html


def test_what_does_not_fit_is_refused(results, tmp_path):
    with pytest.raises(ValidationError, match="arm"):
        write_study_report({**results, "arm": []}, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()
