"""The pages of a study and of a comparison in a real browser: charts that are tables, and texts that stay texts."""

import json
import shutil

import pytest
from tests.report.viewer.conftest import HOSTILE

from qrdistill.base.errors import InputError
from qrdistill.base.records import Answer
from qrdistill.base.store import read_table, write_table
from qrdistill.commands.show import compare_runs
from qrdistill.report.compare_page import write_compare_page
from qrdistill.report.report import write_report
from qrdistill.report.study_page import write_study_report
from qrdistill.report.study_results import StudyResults
from qrdistill.report.viewer import charts_data
from qrdistill.report.viewer.charts_data import Mark


@pytest.fixture
def study():
    estimate = {"estimate": 0.7, "low": 0.6, "high": 0.8, "n": 5}
    few = {"estimate": 0.5, "n": 2, "by_seed": [0.4, 0.6]}
    arms = {
        name: {"styled": figure, "students": {"anna": {"styled": figure["estimate"], "tokens": 9.0}}}
        for name, figure in (("old", few), ("new", estimate))
    }
    against = {"first": "new", "second": "old", "n": 2, "positive": 2, "difference": 0.2, "by_seed": [0.1, 0.3]}
    charts = [
        {
            "kind": "curves",
            "caption": f"Over questions. {HOSTILE}",
            "x": HOSTILE,
            "y": "accuracy, %",
            "lines": [
                {"label": HOSTILE, "x": [1, 2], "y": [50, 60], "low": [40, 50], "high": [60, 70]},
                {"label": "plain", "x": [1, 2], "y": [None, 55]},
            ],
        },
        {
            "kind": "heat",
            "caption": "Shares",
            "rows": ["a", HOSTILE],
            "edges": [0, 5, 10],
            "panels": [{"label": HOSTILE, "cells": [[0.4, None], [0.6, 1]]}],
        },
        {"kind": "dots", "caption": "Dots", "x": "recall, %", "dots": {HOSTILE: estimate, "b": few}},
    ]
    return StudyResults.model_validate(
        {
            "study": HOSTILE,
            "title": f"What helps? {HOSTILE}",
            "findings": [HOSTILE],
            "seeds": [0, 1],
            "arms": {name: {"title": f"{name} {HOSTILE}", "group": HOSTILE} for name in arms},
            "conditions": {
                "even": {
                    "title": HOSTILE,
                    "arms": arms,
                    "comparisons": [{**against, "low": None, "high": None, "over": None}],
                }
            },
            "parts": [{"title": HOSTILE, "charts": charts}],
        }
    )


@pytest.fixture(scope="module")
def compared(told_run, tmp_path_factory):
    """Two runs side by side, `old` with its page; in `new` ben has gained test-1 and lost test-0."""
    folder = tmp_path_factory.mktemp("compared")
    for name in ("old", "new"):
        shutil.copytree(told_run, folder / name)
    rows = [
        row.model_copy(update={"correct": row.question_id == "test-1", "answer": HOSTILE})
        if row.student == "ben"
        else row
        for row in read_table(folder / "new/answers.parquet", Answer)
    ]
    write_table(folder / "new/answers.parquet", Answer, rows)
    write_report(folder / "old")
    return folder


def every_chart_drawn(browser, page):
    """Looks at a page wide and narrow, light and dark; returns the charts' titles."""
    browser.seen()
    for width, dark in ((1440, False), (390, True)):
        browser.open(page.as_uri(), width, dark=dark)
        for place in range(browser.run("return document.querySelectorAll('.chart').length")):
            browser.run("document.querySelectorAll('.chart')[arguments[0]].scrollIntoView()", place)
            browser.until("document.querySelectorAll('.chart')[arguments[0]].querySelector('svg path')", place)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), f"too wide at {width}"
    browser.run("document.querySelectorAll('.chart-head button').forEach(one => one.click())")
    rows = browser.run("return [...document.querySelectorAll('.chart')].map(one => one.querySelectorAll('tr').length)")
    assert min(rows) > 1
    assert browser.run("return [...document.querySelectorAll('.canvas')].every(one => one.hidden)")
    sent, said = browser.seen()
    assert [url for url in sent if not url.startswith(("about:", "file:"))] == []
    assert said == []
    assert browser.run("return window.broken") is None
    assert browser.run("return document.querySelectorAll('main img, main script, a[href^=javascript]').length") == 0
    return browser.run("return [...document.querySelectorAll('.chart h3')].map(one => one.textContent)")


def test_a_study_s_charts_are_tables_and_its_texts_stay_texts(browser, study, tmp_path):
    titles = every_chart_drawn(browser, write_study_report(study, tmp_path / "study.html"))
    seen = HOSTILE
    for letter in "\u202e\u202c\u0000":
        seen = seen.replace(letter, f"U+{ord(letter):04X}")
    assert titles == [f"Prompted style, minus old {seen}", "Prompted style", "Over questions.", seen, "Dots"]
    assert browser.run("return document.querySelector('h1').textContent.startsWith('What helps? <script>')")
    tables = browser.run("return [...document.querySelectorAll('.chart table')].map(one => one.innerText)")
    assert "+20.0\t–\t+10.0, +30.0\tfirst ahead in 2 of 2 seeds" in tables[0]
    assert "70.0\u202f%\t60.0\u202f% to 80.0\u202f%\t–\tn = 5" in tables[1]
    assert f"{seen}\t1\t50\t40 to 60" in tables[2]
    assert "plain\t1\t–\t–" in tables[2]
    assert f"{seen}\t60\u202f%\t100\u202f%" in tables[3]
    assert "recall, %" in tables[4]


def test_a_run_s_page_draws_its_placed_charts_beside_the_viewer_s(browser, build_run, tmp_path):
    titles = every_chart_drawn(browser, write_report(build_run(tmp_path / "run")))
    texts = browser.run("return [...document.querySelectorAll('.chart svg text')].map(one => one.textContent)")
    assert "\u2026" not in texts, "a row without a name has no cut one either"
    placed = "[...document.querySelectorAll('[data-charts] .chart')]"
    assert browser.run(f"return {placed}.map(one => one.querySelector('h3').textContent)") == [
        "Before and after training",
        "How often answers of each confidence are right",
        "Accuracy against what it costs",
    ]
    assert len(titles) > 6  # the viewer's own
    assert browser.run(f"return {placed}.every(one => one.querySelector('svg path'))"), "drawn, and still there"


def test_a_comparison_leads_to_the_questions_that_changed(browser, compared):
    page = write_compare_page([compared / "new", compared / "old"], compared / "compare.html")
    titles = every_chart_drawn(browser, page)
    assert titles == ["Accuracy", "new minus old"]
    tables = browser.run("return [...document.querySelectorAll('.chart table')].map(one => one.innerText)")
    assert "old: ben, prompted style\t25.0\u202f%" in tables[0]
    assert "ben, prompted style\t+0.0\t" in tables[1]
    assert browser.text("#summary li").startswith("new over old, mean of students, prompted style: +0.0 points")
    counts = browser.run("return [...document.querySelectorAll('#changes tbody tr')].map(one => one.innerText)")
    assert "new, old\tben, prompted style\t0\t1\t1\t2" in counts
    browser.run("[...document.querySelectorAll('#changes a')].find(one => one.hash.startsWith('#second')).click()")
    browser.until("document.querySelector('#changes details[open]')")
    row = browser.text("#changes details[open] tbody tr")
    assert row.startswith("test-0\tWhat is 0 + 1?\t1\t<script>")
    browser.run("document.querySelector('#changes details[open] tbody a').click()")
    browser.until("document.querySelector('.question')?.dataset.question === 'test-0'")
    assert browser.run("return location.pathname.endsWith('/old/report.html')")
    html = page.read_text()
    assert 'href="new/report.html' not in html  # it has no page


def test_names_become_addresses_and_nothing_else(compared, tmp_path, capsys):
    for name in ("old", "new"):
        shutil.copytree(compared / name, tmp_path / f"javascript:{name} #?\"'")
    runs = [tmp_path / f"javascript:{name} #?\"'" for name in ("old", "new")]
    target = tmp_path / "pages/compare.html"
    compare_runs(runs, html=target)
    said = capsys.readouterr()
    assert said.err == f"page: {target}\n"
    assert "only first" in said.out
    html = target.read_text()
    assert 'href="../javascript%3Aold%20%23%3F%22%27/report.html#q=test-0"' in html
    with pytest.raises(InputError, match=r"is a folder: name the file"):
        write_compare_page(runs, tmp_path)


def test_an_estimate_without_interval_shows_its_seeds():
    (box,) = charts_data.estimates("t", "", [Mark("a", 0.5, seeds=(0.25, 0.75)), Mark("b", 0.5, 0.4, 0.6, n="n = 9")])
    assert box["rows"][0]["lines"] == ["a: 50.0\u202f%", "seeds 25.0\u202f%, 75.0\u202f%"]
    assert box["rows"][1]["lines"] == ["b: 50.0\u202f%", "95\u202f% interval 40.0\u202f% to 60.0\u202f%", "n = 9"]
    assert json.loads(json.dumps(box)) == box
    assert charts_data.estimates("t", "", []) == []
