"""`qrdistill view`: a real server over a run's tables, asked by a browser and by hand."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing

import pytest
from tests.report.viewer.conftest import LONG

from qrdistill.base.records import Answer, Assignment
from qrdistill.base.store import read_table, write_table
from qrdistill.report.viewer.cards import cards
from qrdistill.report.viewer.tables import Tables
from qrdistill.scores.student_style import is_base, trained_name


@pytest.fixture(scope="module")
def growing(told_run, tmp_path_factory):
    """The run before it was evaluated, its assignments still in parts."""
    folder = shutil.copytree(told_run, tmp_path_factory.mktemp("growing") / "a [run]*'s")
    for name in ("answers.parquet", "scores.json"):
        (folder / name).unlink()
    (folder / "assignments.parquet").rename(folder / "whole")
    (folder / "assignments").mkdir()
    rows = list(read_table(folder / "whole", Assignment))
    write_table(folder / "assignments/part-00000000.parquet", Assignment, rows[:2])
    return folder


@pytest.fixture(scope="module")
def address(growing):
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); " \
        "from qrdistill.cli import main; sys.argv = ['qrdistill', 'view', sys.argv[1], '--no-browser']; main()"  # fmt: off
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(growing)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    yield process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def ask(address, what):
    with urllib.request.urlopen(f"{address}api/{what}") as reply:
        return json.load(reply)


def status(address, path=None, host=None, method="GET"):
    parts = urllib.parse.urlsplit(address)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port)) as connection:
        connection.request(method, parts.path if path is None else path, headers={"Host": host or parts.netloc})
        return connection.getresponse().status


def test_only_who_knows_the_token_under_this_machine_s_name_is_answered(address):
    assert address.startswith("http://127.0.0.1:")
    parts = urllib.parse.urlsplit(address)
    assert len(parts.path) > 20
    assert status(address) == 200
    assert status(address, host="evil.example") == 404
    assert status(address, host=f"127.0.0.1.evil.example:{parts.port}") == 404
    assert status(address, path="/") == 404
    assert status(address, path=parts.path[:-2] + "x/api/list") == 404
    assert status(address, method="POST") == 405
    assert status(address, path=parts.path + "../../etc/passwd") == 404


def test_what_cannot_be_asked_is_one_sentence(address):
    for wanted, said in (("list?sort=text", "cannot sort by 'text'"), ("list?limit=x", "limit 'x' is no number")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(address, wanted)
        with refused.value as reply:
            assert reply.code == 400
            assert said in reply.read().decode()
    assert status(address, path=urllib.parse.urlsplit(address).path + "api/question?q=nobody") == 404


def test_a_run_that_goes_on_is_shown_as_it_grows(browser, address, growing, told_run):
    browser.open(address)
    assert browser.ids() == ["train-0", "train-1", "test-0", "test-1", "test-2", "test-3"]
    browser.until("document.querySelector('[data-id=train-0]').innerText.includes('2/4')")
    browser.open(address + "#q=train-0")
    browser.until("document.querySelector('.opened').innerText.includes('anna read it at step 3')")
    assert "No step" not in browser.text(".opened")
    assert not browser.run("return document.querySelector('[data-change]')")  # nothing is evaluated yet

    shutil.copy(told_run / "answers.parquet", growing)
    shutil.copy(told_run / "scores.json", growing)
    os.replace(growing / "whole", growing / "assignments.parquet")
    browser.until("document.querySelector('.opened').innerText.includes('anna read it 2 times')")
    browser.until("document.querySelector('[data-change=\"anna:l\"] strong')?.textContent === '1'")

    for wanted, found in (
        ("split=test&family=trips", ["test-1", "test-3"]),
        ("verdict=drop:judge", ["train-0"]),
        ("verdict=keep&style=program", []),
        ("reader=ben&teacher=anna", ["train-0"]),
        ("change=anna:l", ["test-2"]),
        ('search="2 + 2"', ["train-0"]),
        ("words=add them", ["train-0"]),
        ("words=three TIMES&teacher=gemini", []),
        ("words=three TIMES&teacher=anna", ["train-0"]),
        ('words="right left"', []),
        ("words=right left", ["train-1"]),
        ("sort=-place", ["test-3", "test-2", "test-1", "test-0", "train-1", "train-0"]),
    ):  # the same as the page's own list gives
        rows = ask(address, "list?" + urllib.parse.quote(wanted, safe="=&"))["rows"]
        assert [row[1] for row in rows] == found, wanted

    browser.run("location.hash = 'p=0%2Ftrain-1%2Fgemini%2Fvanilla%2F0'")
    browser.until("document.querySelector('.path.aimed button')?.innerText.startsWith('Show all 1\u202f000\u202f000')")
    browser.run("document.querySelector('.path.aimed button').click()")
    assert browser.run("return document.querySelector('.path.aimed pre').textContent.length") == len(LONG)
    assert browser.run("return window.broken") is None
    browser.run("location.hash = 'main'")
    browser.until("document.querySelectorAll('.chart').length >= 6")
    sent, said = browser.seen()
    assert [url for url in sent if not url.startswith(("about:", "data:", address))] == []
    assert said == []


def test_many_readings_are_thinned_and_counted(told_run, tmp_path):
    folder = shutil.copytree(told_run, tmp_path / "run")
    (row, *_) = read_table(folder / "assignments.parquet", Assignment)
    many = [row.model_copy(update={"step": step, "nll_step": step}) for step in range(1000)]
    write_table(folder / "assignments.parquet", Assignment, many)
    tables = Tables(folder)
    tables.build({"anna": ("facts", "facts")})
    (path,) = [path for path in cards(tables, ["train-0"])["train-0"]["paths"] if path[0] == row.path_id]
    readings = path[-1]
    assert 58 <= len(readings) <= 62
    assert (readings[0][1], readings[-1][1], readings[0][-1]) == (0, 999, 1000)


def test_untrained_answers_are_found_in_their_own_table_too(told_run, tmp_path):
    folder = shutil.copytree(told_run, tmp_path / "run")
    rows = list(read_table(folder / "answers.parquet", Answer))
    untrained = [
        row.model_copy(update={"student": trained_name(row.student), "training": "untrained"})
        for row in rows
        if is_base(row.student)
    ]
    write_table(folder / "untrained.parquet", Answer, untrained)
    write_table(folder / "answers.parquet", Answer, [row for row in rows if not is_base(row.student)])
    found = []
    for place in (told_run, folder):
        tables = Tables(place)
        tables.build({"anna": ("facts", "facts"), "ben": ("facts", "facts")})
        found.append((tables.run("select id, change from listed order by id"), cards(tables, ["test-2"])))
    assert found[0] == found[1]
    assert ("test-2", "lw") in found[0][0]
