"""The demo's page: arms side by side, every page a click from every other."""

import json
import re

import pytest

from qrdistill.base.ownership import claim
from qrdistill.report.demo_page import ArmRow, write_demo_page
from qrdistill.report.report import write_report


def test_the_arms_stand_side_by_side_and_lead_to_each_other(build_run, tmp_path):
    rows = []
    claim(tmp_path)
    for seed, arm in enumerate(("base", "learned")):
        folder = tmp_path / arm
        claim(folder)
        build_run(folder, seed=seed, base=False, samples=1)
        heads = json.loads((folder / "scores.json").read_text())["headlines"]
        students = {head["student"]: head["styled"] for head in heads}
        mean = sum(score["accuracy"] for score in students.values()) / len(students)
        rows.append(ArmRow(arm, f"the {arm} arm", students, mean, None, 1234567, 75.0))
    whole = write_demo_page(tmp_path, rows, base="base").read_text()
    page = re.sub("<script.*?</script>", "", whole, flags=re.DOTALL)
    assert page.count('href="learned/report.html"') == 2  # the navigation and the table
    line = re.search(r'<tr><th scope="row"><a href="learned/.*', page)[0]
    for score in rows[1].students.values():
        assert f"{100 * score['accuracy']:.1f}\u202f%" in line
    gain = re.search(r"<td>([+\u2212][\d.]+) <span", line)[1].replace("\u2212", "-")
    assert float(gain) == pytest.approx(100 * (rows[1].mean - rows[0].mean), abs=0.06)
    assert "1\u202f234\u202f567" in line
    [chart] = json.loads(re.search('id="charts-data">([^<]*)<', whole)[1])["arms"]
    assert {row["label"]: row["value"] for row in chart["rows"]} == {
        f"{row.title}, {name}": score["accuracy"] for row in rows for name, score in row.students.items()
    }
    assert [row["hollow"] for row in chart["rows"]] == [True, True, False, False]
    assert page.count('data-charts="arms"') == 1
    for arm, other in (("base", "learned"), ("learned", "base")):
        text = write_report(tmp_path / arm).read_text()
        assert '<a href="../report.html">' in text
        assert f'<a href="../{other}/report.html">' in text
        assert f'<a href="../{arm}/report.html">' not in text


def test_a_run_of_its_own_has_no_siblings(build_run, tmp_path):
    claim(tmp_path / "one")
    claim(tmp_path / "two")  # both in runs/, which is nobody's
    build_run(tmp_path / "one", base=False, samples=1)
    assert "../two/report.html" not in write_report(tmp_path / "one").read_text()
