"""The run's page in a real browser, from a file, as a reader would use it."""

import base64
import gzip
import json
import re

import pytest
from tests.report.viewer.conftest import HOSTILE, LONG

from qrdistill.report.report import write_report
from qrdistill.report.viewer import page_data as in_page


@pytest.fixture(scope="module")
def address(told_run, tmp_path_factory):
    return write_report(told_run, tmp_path_factory.mktemp("page") / "report.html").as_uri()


def test_nothing_leaves_and_nothing_complains(browser, address):
    for width, dark in ((1440, False), (390, True)):
        browser.open(address, width, dark=dark)
        for place in range(browser.run("return document.querySelectorAll('.chart').length")):
            browser.run("document.querySelectorAll('.chart')[arguments[0]].scrollIntoView()", place)
            browser.until("document.querySelectorAll('.chart')[arguments[0]].querySelector('svg path')", place)
        for hash in ("#questions", "#q=train-1", "#q=test-1"):
            browser.run("location.hash = arguments[0]", hash)
            browser.until("document.body.classList.contains('exploring')")
            assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), f"{hash} is too wide"
        sent, said = browser.seen()
        assert [url for url in sent if not url.startswith(("about:", "file:", "blob:", "data:"))] == []
        assert said == []


def test_search_sort_and_filters_find_questions(browser, address):
    browser.open(address + "#questions")
    assert browser.ids() == ["train-0", "train-1", "test-0", "test-1", "test-2", "test-3"]
    browser.press("/")
    browser.press('"2 + 2"')
    browser.until("document.getElementById('found').innerText === '1 question'")
    assert browser.ids() == ["train-0"]
    browser.open(address + "#search=6")
    assert browser.ids() == ["train-0"]  # by its gold answer
    for wanted, found in (
        ("split=test&family=trips", ["test-1", "test-3"]),
        ("style=program", ["train-0"]),
        ("verdict=undecided", ["train-1"]),
        ("verdict=drop:judge", ["train-0"]),
        ("verdict=keep&style=program", []),  # of one and the same path
        ("reader=ben&teacher=anna", ["train-0"]),
        ("reader=ben&teacher=gemini", []),
        ("words=add them", ["train-0"]),  # in a thought
        ("words=three TIMES&teacher=gemini", []),  # anna says so
        ("words=three TIMES&teacher=anna", ["train-0"]),
        ('words="right left"', []),
        ("words=right left", ["train-1"]),
        ("sort=-kept", ["train-0", "train-1", "test-0", "test-1", "test-2", "test-3"]),
        ("sort=-place", ["test-3", "test-2", "test-1", "test-0", "train-1", "train-0"]),
    ):
        browser.run("location.hash = arguments[0]", wanted)
        number = {0: "No question fits these filters.", 1: "1 question"}.get(len(found), f"{len(found)} questions")
        browser.until("document.getElementById('found').innerText === arguments[0]", number)
        browser.until(
            "JSON.stringify(arguments[0]) === JSON.stringify([...document.querySelectorAll('#questions-table [data-id]')].map(one => one.dataset.id))",
            found,
        )
    browser.run("location.hash = 'questions'")
    browser.run(
        "const one = document.getElementById('filter-split'); one.value = 'test'; one.dispatchEvent(new Event('change'))"
    )
    browser.until("location.hash === '#split=test'")
    browser.until("document.querySelectorAll('#questions-table [data-id]').length === 4")


def test_the_four_way_table_counts_and_filters(browser, address):
    browser.open(address + "#questions")
    counts = browser.run(
        "return Object.fromEntries([...document.querySelectorAll('[data-change]')].map(one => "
        "[one.dataset.change, one.querySelector('strong').innerText]))"
    )
    anna = {"anna:r": "1", "anna:l": "1", "anna:g": "1", "anna:w": "1"}
    assert counts == anna | {"ben:r": "0", "ben:l": "0", "ben:g": "1", "ben:w": "3"}
    for change, found in (("anna:l", ["test-2"]), ("anna:g", ["test-1"]), ("ben:w", ["test-1", "test-2", "test-3"])):
        browser.click(f"[data-change='{change}']")
        browser.until("document.querySelector(arguments[0]).ariaPressed === 'true'", f"[data-change='{change}']")
        assert browser.ids() == found
    browser.click("[data-change='ben:w']")
    browser.until("document.querySelectorAll('#questions-table [data-id]').length === 6")


def test_keys_lead_through_the_questions(browser, address):
    from selenium.webdriver.common.keys import Keys

    browser.open(address + "#split=test")
    for key, id in (
        ("j", "test-0"),
        ("j", "test-1"),
        (Keys.ARROW_DOWN, "test-2"),
        ("k", "test-1"),
        (Keys.ARROW_UP, "test-0"),
    ):
        browser.press(key)
        browser.until("document.querySelector('.question')?.dataset.question === arguments[0]", id)
        assert browser.run("return location.hash") == f"#q={id}&split=test"
    browser.press("?")
    assert browser.until("document.getElementById('help').open")
    browser.press(Keys.ESCAPE)
    browser.until("!document.getElementById('help').open")
    browser.press(Keys.ESCAPE)
    browser.until("location.hash === '#split=test'")
    assert browser.text(".question") is None


def test_the_card_tells_the_story_of_three_paths(browser, address):
    browser.open(f"{address}#p={'0/train-0/gemini/program/0'.replace('/', '%2F')}")
    aimed = browser.text(".path.aimed")
    assert browser.run("return document.querySelector('.path.aimed mark').innerText") == "2 + 2 = 5"
    for words in ("dropped by judge", "program", "gemini", "answer 6", "12 tokens", "$0.0012", "✓ passed answer"):
        assert words in aimed, words
    assert "✗ judge (gemini, 90\u202f% sure): 2 + 2 is 4" in aimed
    assert "✓ judge (gemini, vote 2): looks fine" in aimed

    kept = browser.text("[data-path='0/train-0/gemini/facts/0']")
    assert "anna read it 2 times, at step 3 of round 0, 9 of round 0, loss 0.5 → 0.125" in kept
    assert "ben read" not in kept
    thought = browser.run("return document.querySelector('.thought')")
    assert not browser.run("return arguments[0].open", thought)
    assert "one by one" in browser.run("return arguments[0].textContent", thought)
    assert "<think>" not in kept
    dots = browser.run(
        "return [...document.querySelectorAll('[data-path$=\"gemini/facts/0\"] circle title')].map(o => o.textContent)"
    )
    assert dots[0] == "step 3 of round 0: anna 0.75, read"
    assert len(dots) == 4

    wrong = browser.text("[data-path='0/train-0/gemini/vanilla/0']")
    assert "dropped by answer" in wrong
    assert "7 is not 6" in wrong
    assert "cut by the token limit" in wrong

    own = browser.text("[data-path='1/train-0/anna/facts/0']")
    assert "Written by anna as round 0 had left it; of this question it had read: facts." in own
    assert "ben read it at step 4 of round 1, loss 0.25 then; not measured again" in own
    assert browser.run("return [...document.querySelectorAll('.opened h3')].map(one => one.innerText)") == [
        "Paths",
        "Round 1: own and peer paths",
    ]
    story = browser.text(".story")
    assert "4 paths: 2 kept, 1 dropped by judge, 1 dropped by answer." in story
    assert "anna read 1, ben read 1." in story


def test_the_card_shows_answers_before_and_after(browser, address):
    browser.open(address + "#q=test-2")
    assert "anna right before, wrong after; ben wrong before and after." in browser.text(".story")
    anna = browser.text(".answer-table")
    assert "facts✓ 3 → ✗ 99" in re.sub(r"\s*\n\s*", "", anna)
    assert "99 is not 3" in anna


def test_hostile_text_stays_text(browser, address):
    browser.open(address + "#q=train-1")
    assert browser.run("return window.broken") is None
    assert (
        browser.run(
            "return document.querySelectorAll('.opened img, .opened script, .opened a[href^=javascript]').length"
        )
        == 0
    )
    shown = browser.run("return document.querySelector('[data-path$=\"facts/0\"] pre').textContent")
    expected = HOSTILE
    for letter in "\u202e\u202c\u0000":
        expected = expected.replace(letter, f"U+{ord(letter):04X}")
    assert shown == expected
    assert browser.run("return document.querySelector('[data-path$=\"facts/0\"] mark') !== null")
    long = browser.run("return document.querySelector('[data-path$=\"vanilla/0\"] pre').textContent")
    assert long.startswith("x" * 20000)
    assert "[980,000 more characters: qrdistill view shows them]" in browser.text("[data-path$='vanilla/0']")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_every_chart_is_also_a_table(browser, address):
    browser.open(address)
    titles = browser.run("return [...document.querySelectorAll('.chart h3')].map(one => one.innerText)")
    assert titles == [
        "Accuracy",
        "Accuracy against tokens",
        "What training changed",
        "Worst and best families",
        "Where the paths went",
        "What anna was given",
        "What ben was given",
        "Loss",
    ]
    browser.run("document.querySelectorAll('.chart-head button').forEach(one => one.click())")
    rows = browser.run(
        "return [...document.querySelectorAll('.chart')].map(one => one.querySelectorAll('tbody tr').length)"
    )
    assert all(rows), dict(zip(titles, rows, strict=True))
    flow = browser.text(".charts#charts-flow table")
    assert "gemini\tprogram\tdropped by judge\t\t1" in flow
    assert "anna (later round)\tfacts\tkept\tben\t1" in flow


def test_a_large_run_puts_a_sample_in_the_page_and_says_so(told_run, tmp_path, monkeypatch, browser):
    monkeypatch.setattr(in_page, "_MOST_PATHS", 4)
    target = write_report(told_run, tmp_path / "small.html")
    html = target.read_text()
    data = json.loads(re.search('id="run-data">([^<]*)<', html)[1])
    cards = json.loads(gzip.decompress(base64.b64decode(re.search('id="run-cards">([^<]*)<', html)[1])))
    assert 1 <= data["sample"]["shown"] == len(data["rows"]) == len(cards) < data["sample"]["all"] == 6
    assert sum(row[-1] for row in data["flow"]) == 6  # the charts are over all
    browser.open(target.as_uri() + "#questions")
    assert f"{len(cards)} of 6 questions" in browser.text(".sample")
    assert LONG[:20001] not in html
