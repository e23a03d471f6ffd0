"""A real Chromium, and a small run in which the story of every path is known."""

import json
import os
import shutil
import time

import pytest

from qrdistill.base.records import Answer, Assignment, Question, ReasoningPath, Verdict, path_id
from qrdistill.base.store import write_json, write_table, write_text
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.score import score

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = (
    '<script>window.broken = 1</script></script><img src=x onerror="window.broken=1"> '
    "[a](javascript:window.broken=1) \u202eright to left\u202c \u0000 {{7*7}} ${7*7}"
)
LONG = "x" * 1_000_000


class Browser:
    """One Chromium; what it asked of the network and wrote on its console since `open`."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address, width=1440, height=900, dark=False):
        self.driver.get("about:blank")
        self.seen()
        self.look(width, height, dark)
        self.driver.get(address)
        self.until("document.documentElement.dataset.ready")
        assert self.run("return document.documentElement.dataset.ready") == "yes"

    def look(self, width, height, dark):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def until(self, condition, *values, seconds=30):
        """Waits for an expression to be true; returns its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.run(f"return {condition}", *values):
                return found
            time.sleep(0.02)
        raise AssertionError(f"never came true: {condition}")

    def press(self, key):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(key).perform()

    def click(self, selector):
        self.run("document.querySelector(arguments[0]).click()", selector)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText", selector)

    def ids(self):
        """The questions that the list shows."""
        return self.run(
            "return [...document.querySelectorAll('#questions-table [data-id]')].map(one => one.dataset.id)"
        )

    def seen(self):
        """(requests that were made, lines of the console)."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return sent, [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Missing, it fails where CI is set: nobody would notice else that nothing has been looked at."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        if os.environ.get("CI"):
            pytest.fail("CI has no chromium and chromedriver; .ci/run installs them")
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield Browser(driver)
    driver.quit()


def told(id, check, outcome, reason="", **more):
    return Verdict(path_id=id, check=check, outcome=outcome, reason=reason, **more)


@pytest.fixture(scope="session")
def told_run(tmp_path_factory):
    """Two students. train-0: a kept path that anna reads twice, one that a judge dropped, one with a wrong answer,
    and an own path of anna's that ben reads. train-1 is hostile. test-0 to test-3: stayed right, gained, lost, wrong."""
    folder = tmp_path_factory.mktemp("told") / "run"
    folder.mkdir()
    questions = [
        Question(id="train-0", split="train", task="t", family="sums", kind="number", question="What is 2 + 2 + 2?", gold="6"),
        Question(id="train-1", split="train", task="t", family=HOSTILE[:40], kind="number", question=HOSTILE, gold="1"),
        *(
            Question(id=f"test-{n}", split="test", task="t", family=("sums", "trips")[n % 2], kind="number", question=f"What is {n} + 1?", gold=str(n + 1))
            for n in range(4)
        ),
    ]  # fmt: off
    write_table(folder / "questions.parquet", Question, questions)

    def path(question, style, text, answer, round=0, teacher="gemini", **more):
        id = path_id(round, question, teacher, style, 0)
        given = {"prompt_tokens": 20, "completion_tokens": 12, "cost": 0.0012, **more}
        return ReasoningPath(
            id=id, round=round, question_id=question, teacher=teacher, style=style, prompt_hash="h", text=text, answer=answer, **given
        )  # fmt: off

    kept = path("train-0", "facts", "<think>Add them one by one.</think>2 + 2 = 4, 4 + 2 = 6.\nThe answer is 6.", "6")
    judged = path("train-0", "program", "2 + 2 = 5, so 5 + 1 = 6.\nThe answer is 6.", "6")
    wrong = path("train-0", "vanilla", "The answer is 7.", "7", finish_reason="length")
    hostile = path("train-1", "facts", HOSTILE, HOSTILE)
    long = path("train-1", "vanilla", LONG, None)
    own = path(
        "train-0", "facts", "Facts: three times 2 is 6.\nThe answer is 6.", "6", round=1, teacher="anna", cost=0.0
    )
    write_table(folder / "paths.parquet", ReasoningPath, [kept, judged, wrong, hostile, long])
    write_table(folder / "own_paths.parquet", ReasoningPath, [own])
    sure = {"judge": "gemini", "confidence": 0.9}
    write_table(
        folder / "verdicts.parquet",
        Verdict,
        [
            told(kept.id, "answer", "keep"),
            told(kept.id, "judge", "keep", "every step holds", **sure),
            told(kept.id, "filter", "keep"),
            told(judged.id, "answer", "keep"),
            told(judged.id, "judge", "drop", "2 + 2 is 4", quote="2 + 2 = 5", **sure),
            told(judged.id, "judge", "keep", "looks fine", vote=1, judge="gemini"),
            told(judged.id, "filter", "drop", "judge: 2 + 2 is 4"),
            told(wrong.id, "answer", "drop", "7 is not 6"),
            told(wrong.id, "filter", "drop", "answer: 7 is not 6"),
            told(hostile.id, "answer", "drop", HOSTILE, quote=HOSTILE),
            told(hostile.id, "filter", "drop", f"answer: {HOSTILE}"),
            told(long.id, "answer", "undecided"),
            told(long.id, "filter", "undecided", "answer: "),
        ],
    )
    write_table(
        folder / "own_verdicts.parquet",
        Verdict,
        [told(own.id, "answer", "keep"), told(own.id, "filter", "keep")],
    )

    def reading(id, step, student, chosen, nll, round=0):
        probability = 0.75 if chosen else 0.25
        return Assignment(
            round=round, step=step, path_id=id, student=student, probability=probability, chosen=chosen, nll=nll,
            nll_step=None if nll is None else step,
        )  # fmt: off

    write_table(
        folder / "assignments.parquet",
        Assignment,
        [
            reading(kept.id, 3, "anna", True, 0.5),
            reading(kept.id, 3, "ben", False, None),
            reading(kept.id, 9, "anna", True, 0.125),
            reading(kept.id, 9, "ben", False, None),
            reading(own.id, 4, "anna", False, None, round=1),
            reading(own.id, 4, "ben", True, 0.25, round=1),
        ],
    )

    def answer(student, n, right, style="facts"):
        said = str(n + 1) if right else "99"
        return Answer(
            student=student, question_id=f"test-{n}", split="test", style=style, text=f"{HOSTILE}\nThe answer is {said}.",
            answer=said, correct=right, reason="" if right else f"99 is not {n + 1}", logprob=-1.0, tokens=9,
        )  # fmt: off

    after = {"anna": [True, True, False, False], "ben": [True, False, False, False]}
    before = {"anna": [True, False, True, False], "ben": [False, False, False, False]}
    answers = [answer(name, n, right) for name, said in after.items() for n, right in enumerate(said)]
    answers += [answer(f"{name}@base", n, right) for name, said in before.items() for n, right in enumerate(said)]
    answers += [answer("anna", 1, False, "free")]
    write_table(folder / "answers.parquet", Answer, answers)
    figures = score(answers, {q.id: q for q in questions}, EvaluateConfig())
    figures["best_style"] = dict.fromkeys(("anna", "ben", "anna@base", "ben@base"), "facts")
    for head in figures["headlines"]:
        head["style"] = "facts"
    write_json(folder / "scores.json", figures)
    lines = [{"step": step, "loss": 1 / (step + 1), "tokens": {"anna": 5, "ben": 5}} for step in range(10)]
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_json(folder / "manifest.json", {"stages": {"train": {"state": "done", "key": "k", "seconds": 1.0}}})
    students = "".join(f"- {{name: {name}, model: x}}\n" for name in ("anna", "ben"))
    write_text(folder / "config.yaml", f"name: told\nseed: 0\nstudents:\n{students}")
    return folder
