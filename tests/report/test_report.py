"""The page as a browser would read it: parsed, not grepped."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from qrdistill.base.errors import InputError
from qrdistill.base.records import Answer
from qrdistill.base.store import read_table, write_table
from qrdistill.report.helped import helped
from qrdistill.report.report import write_report

VOID = {"meta", "link", "br", "img", "input", "hr"}
LOADING = {"src", "srcset", "data", "poster", "action", "formaction", "background", "ping"}
SECTIONS = {
    "helped",
    "summary",
    "accuracy",
    "votes",
    "filter",
    "routing",
    "training",
    "costs",
    "stages",
    "config",
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains about tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.ids, self.attributes, self.stack, self.words = [], [], [], [], []
        self.feed(text)
        assert not self.stack, f"never closed: {self.stack}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.stack and self.stack[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def run_folder(build_run, tmp_path_factory):
    return build_run(tmp_path_factory.mktemp("runs") / "a-run")


@pytest.fixture(scope="module")
def whole(run_folder):
    return write_report(run_folder).read_text()


@pytest.fixture(scope="module")
def html(whole):
    """The page without its data and scripts."""
    return re.sub("<script.*?</script>", "", whole, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_section_is_there_and_every_link_leads_somewhere(page):
    assert set(page.ids) >= SECTIONS
    targets = [value[1:] for _, name, value in page.attributes if name == "href"]
    assert set(targets) - {"questions"} <= set(page.ids)  # that one is the viewer's
    assert len(page.ids) == len(set(page.ids)), "ids must be unique, figures included"


def test_it_leads_with_whether_it_helped(run_folder, html):
    told = helped(run_folder)
    block = html[html.index('id="helped"') : html.index("In short</h2>")]
    assert told.sentence in block
    assert 'data-charts="helped"' in block
    assert told.gain["students"] == ["anna", "ben"]
    assert helped(run_folder, "anna").gain["students"] == ["anna"]
    assert helped(run_folder, "anna").sentence != told.sentence


def test_nothing_runs_and_nothing_is_fetched(page, html):
    assert not set(page.tags) & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "img",
        "base",
        "audio",
        "video",
    }
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"<{tag} {name}>"
        assert name not in LOADING, f"<{tag} {name}={value}>"
        assert name not in ("href", "xlink:href") or value.startswith("#")
        assert "url(" not in (value or "") or re.search(r"url\(#", value)
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html


def test_what_models_wrote_is_shown_as_text(page, html):
    hostile = '</pre><script>alert("x")</script><img src="https://evil.example/p.png" onerror=alert(1)> & {{ 7*7 }}'
    assert page.text.count(hostile) >= 2  # warning, config; the rest is the viewer's
    assert "<script" not in html
    assert "49" not in re.findall(r"&amp; (\S+)", html)  # templates in the text are not run


def test_only_the_two_known_scripts_run_and_data_is_no_markup(whole):
    blocks = re.findall(r"<script([^>]*)>(.*?)</script>", whole, flags=re.DOTALL)
    data = [text for attributes, text in blocks if "application/json" in attributes]
    run = [text for attributes, text in blocks if "application/json" not in attributes]
    assert (len(data), len(run)) == (3, 2)
    assert not any("<" in text for text in data)
    allowed = re.search(r"script-src ([^;\"]*)", whole)[1].replace("&#39;", "'").split()
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert allowed == [f"'sha256-{one}'" for one in hashes]
    assert whole.count("<script") == len(blocks) == 5


def test_every_chart_is_its_figures_and_stands_in_one_place(run_folder, whole, html):
    data = json.loads(re.search('id="charts-data">([^<]*)<', whole)[1])
    assert sorted(re.findall('data-charts="([^"]*)"', html)) == sorted(data) == ["calibration", "helped", "votes"]
    [changed], [votes], [calibration] = data["helped"], data["votes"], data["calibration"]
    told, scores = helped(run_folder), json.loads((run_folder / "scores.json").read_text())
    before, after = changed["rows"][:2]
    assert (before["label"], before["hollow"], after["hollow"]) == ("all students, untrained", True, False)
    assert (before["value"], after["value"]) == (told.gain["untrained"], told.gain["trained"])
    assert [row["label"] for row in changed["rows"][2:]] == [
        f"{name}, {when}" for name in ("anna", "ben") for when in ("untrained", "trained")
    ]
    bought = {line["label"]: dict(zip(line["x"], line["y"], strict=True)) for line in votes["lines"]}
    for head in scores["headlines"]:
        if not head["base"]:
            assert bought[f"{head['student']}, {head['style']}, greedy"] == {1.0: 100 * head["styled"]["accuracy"]}
    assert len(bought) > 3
    assert calibration["lines"][-1] == {"label": "perfect", "x": [0, 100], "y": [0, 100], "low": None, "high": None}


def test_both_themes_define_every_colour(html):
    style = html.partition("<style>")[2].partition("</style>")[0]
    light, dark = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    used = set(re.findall(r"var\((--[\w-]+)", html)) - {"--tint", "--soft", "--bar", "--share"}
    for theme in (light, dark):
        assert used <= set(re.findall(r"(--[\w-]+):", theme))


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_series_stand_out_from_the_paper(html, theme):
    """WCAG contrast: 4.5 for text, 3 for lines and markers."""

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = html.partition("<style>")[2].partition("</style>")[0]
    block = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for name, colour in colours.items():
        if name in ("paper", "panel", "line"):
            continue
        needed = 3.0 if name.startswith("series") else 4.5
        for ground in ("paper", "panel"):
            light, dark = sorted([luminance(colour), luminance(colours[ground])], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= needed, f"{name} on {ground}"


def test_the_page_is_accessible(page, html):
    assert '<html lang="en">' in html
    assert 'name="viewport"' in html
    assert page.tags.count("h1") == 1
    assert page.tags.count("main") == 1
    scrolling = [value for tag, name, value in page.attributes if (tag, name) == ("div", "aria-label")]
    assert len(scrolling) == html.count('class="scroll"')
    assert html.count("<th ") == html.count("<th scope=")


def test_the_figures_are_the_run_s(page, html, run_folder):
    scores = json.loads((run_folder / "scores.json").read_text())
    for head in scores["headlines"]:
        if not head["base"]:
            accuracy = f"{100 * head['styled']['accuracy']:.1f}"
            assert f"{head['student']} answers {accuracy}\u202f%" in page.text
            gain = f"{100 * head['styled_gain']['difference']:+.1f}".replace("-", "\u2212")
            assert f"{head['student']} gains {gain} points" in page.text
    (vote,) = [one for one in scores["ensembles"] if one["name"] == "weighted by dev, pairs, early stop"]
    assert f"pairs reaches {100 * vote['accuracy']:.1f}\u202f% at {vote['decodes']:.1f} decodes" in page.text
    if vote["against_equal_cost"]:
        assert f"Over {vote['against_equal_cost']['second']}, which spends" in page.text
    assert "Of 36 reasoning paths the filter kept" in page.text
    assert "ben was given most of program (100\u202f%)" in page.text
    assert '<th scope="row">anna</th><td class="n">300</td>' in html  # 30 steps of 10 tokens


def test_kept_dropped_and_undecided_add_up(page, run_folder):
    from qrdistill.report.run_facts import read_run

    paths = read_run(run_folder).paths
    for group in [paths.total, *paths.by_style.values()]:
        assert group.kept + group.dropped + group.undecided == group.generated
        assert group.kept + sum(group.closed.values()) == group.generated
    assert paths.total.generated == sum(group.generated for group in paths.by_style.values()) == 36


def test_same_files_same_bytes(run_folder, tmp_path, whole):
    assert write_report(run_folder, tmp_path / "again.html").read_text() == whole


PARTS = {
    "scores.json": {"helped", "accuracy", "votes"},
    "verdicts.parquet": {"filter"},
    "assignments.parquet": {"routing"},
    "metrics.jsonl": {"training"},
    "paths.parquet": {"filter", "costs", "routing"},
    "manifest.json": {"stages"},
    "config.yaml": {"config"},
    "questions.parquet": set(),
    "answers.parquet": set(),
}


@pytest.mark.parametrize("missing", PARTS)
def test_a_missing_file_is_an_absent_section(run_folder, tmp_path, missing):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / missing).unlink()
    page = Page(write_report(folder).read_text())
    assert set(page.ids) & SECTIONS == SECTIONS - PARTS[missing]
    targets = {value[1:] for _, name, value in page.attributes if name == "href"}
    assert targets - {"questions"} <= set(page.ids)
    assert ("questions" in targets) == ("run-cards" in page.ids) == (missing != "questions.parquet")


def test_a_run_that_just_began(tmp_path):
    (tmp_path / "config.yaml").write_text("name: early\n")
    page = Page(write_report(tmp_path).read_text())
    assert "Nothing is finished yet" in page.text
    assert "early" in page.text


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_a_model_echoed_is_not_shown(run_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    monkeypatch.setenv("SOME_API_KEY", "sk-12345678")
    answers = list(read_table(folder / "answers.parquet", Answer))
    answers[0] = answers[0].model_copy(update={"text": "the key is sk-12345678"})
    write_table(folder / "answers.parquet", Answer, answers)
    config = folder / "config.yaml"
    config.write_text(config.read_text() + "# sk-12345678\n")
    html = write_report(folder).read_text()
    cards = gzip.decompress(base64.b64decode(re.search('id="run-cards">([^<]*)<', html)[1])).decode()
    assert "sk-12345678" not in html + cards
    assert "SOME_API_KEY" in html
    assert "the key is <SOME_API_KEY>" in cards


def test_a_half_written_log_line_is_skipped(run_folder, tmp_path, whole):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')
    assert write_report(folder).read_text() == whole


def test_the_students_own_paths_have_rows_of_their_own(run_folder, tmp_path):
    from qrdistill.base.records import ReasoningPath, Verdict, path_id
    from qrdistill.base.store import read_table, write_table
    from qrdistill.report.run_facts import read_run

    folder = shutil.copytree(run_folder, tmp_path / "run")
    ids = [path_id(1, f"train-{n}", "anna", "facts", 0) for n in range(3)]
    teacher = next(read_table(folder / "paths.parquet", ReasoningPath)).teacher
    own = [
        ReasoningPath(
            id=id,
            round=1,
            question_id=f"train-{n}",
            teacher="anna",
            style="facts",
            prompt_hash="",
            text="x",
            answer="1",
        )
        for n, id in enumerate(ids)
    ]
    asked_again = own[0].model_copy(update={"id": path_id(1, "train-0", teacher, "facts", 1), "teacher": teacher})
    write_table(folder / "own_paths.parquet", ReasoningPath, [*own, asked_again])
    said = ["keep", "drop", "undecided"]
    write_table(
        folder / "own_verdicts.parquet",
        Verdict,
        [
            Verdict(path_id=id, round=1, check=check, outcome=outcome)
            for id, outcome in zip(ids, said, strict=True)
            for check in ("answer", "filter")
        ],
    )
    paths = read_run(folder).paths
    group = paths.by_style["facts, students' own"]
    assert (group.generated, group.kept, group.dropped, group.undecided) == (3, 1, 1, 1)
    assert group.closed == {"answer": 2}
    assert (paths.by_teacher["anna"].paths, paths.by_teacher["anna"].kept) == (3, 1)
    assert paths.by_style["facts, asked again"].generated == 1
    assert paths.total.generated == 40


def test_the_filter_is_measured_where_the_truth_is_known(run_folder, tmp_path):
    from qrdistill.base.records import Truth, Verdict
    from qrdistill.base.store import read_table, write_table
    from qrdistill.report.run_facts import read_run

    folder = shutil.copytree(run_folder, tmp_path / "run")
    closing = [v for v in read_table(folder / "verdicts.parquet", Verdict) if v.check == "filter"]
    kept = [v.path_id for v in closing if v.outcome == "keep"]
    rest = [v.path_id for v in closing if v.outcome != "keep"]
    assert (len(kept), len(rest)) == (10, 26)
    labels = dict.fromkeys(kept, "sound") | {kept[0]: "spurious"} | dict.fromkeys(rest, "wrong") | {rest[0]: "sound"}
    write_table(folder / "truth.parquet", Truth, [Truth(path_id=id, label=label) for id, label in labels.items()])
    planted = read_run(folder).paths.planted
    assert {label: (group.generated, group.kept) for label, group in planted.items()} == {
        "sound": (10, 9),
        "spurious": (1, 1),
        "wrong": (25, 0),
    }
    text = Page(write_report(folder).read_text()).text
    assert "90.0\u202f% (59.6\u202f% to 98.2\u202f%, n = 10) of the kept paths are sound (precision)" in text
    assert "90.0\u202f% (59.6\u202f% to 98.2\u202f%, n = 10) of the sound paths were kept (recall)" in text
