import threading

import pytest

from qrdistill.base.progress import Silent
from qrdistill.base.records import FREE, Answer
from qrdistill.base.store import TableWriter, read_table
from qrdistill.llm.reply_cache import Reply, ReplyCache
from qrdistill.paths.styles import resolve_styles, student_prompt
from qrdistill.scores import untrained
from qrdistill.scores.config import EvaluateConfig
from qrdistill.scores.score import score
from qrdistill.scores.untrained import answer_untrained
from qrdistill.students.config import StudentConfig

STYLES = resolve_styles(["vanilla", "chain_of_thought", "facts"])


@pytest.fixture
def questions(make_question):
    rows = [*(make_question(f"d{n}", split="dev") for n in range(3)), *(make_question(f"q{n}") for n in range(5))]
    return {row.id: row for row in rows}


@pytest.fixture
def trained(questions, make_answer):
    """Anna is best in `facts` on dev, and voted in `vanilla` too."""
    rows = []
    for question in questions.values():
        for style in STYLES:
            if question.split == "dev" or style in ("facts", "vanilla"):
                said = "1" if style == "facts" else "9"
                rows.append(make_answer("anna", question.id, style, said, split=question.split))
        rows.append(make_answer("anna", question.id, FREE, "9", split=question.split))
    return rows


@pytest.fixture
def decoded(monkeypatch):
    """The prompts that a student was really asked."""
    asked: list[str] = []

    class Listening(untrained.Engine):
        def __call__(self, prompts, **how):
            asked.extend(prompts)
            return super().__call__(prompts, **how)

    monkeypatch.setattr(untrained, "Engine", Listening)
    return asked


def ask(target, folder, trained, questions, home, **settings):
    config = EvaluateConfig(**{"max_tokens": 6, "batch_size": 2, **settings})
    with TableWriter(target, Answer) as out, ReplyCache(home / "replies.sqlite") as cache:
        answer_untrained(
            [StudentConfig(name="anna", model=str(folder))],
            trained,
            questions,
            config,
            styles=STYLES,
            out=out,
            cache=cache,
            base_dir=home,
            device="cpu",
            progress=Silent(),
        )
    return list(read_table(target, Answer))


def test_the_same_prompts_once_for_all_runs(tmp_path, student_folders, trained, questions, decoded):
    rows = ask(tmp_path / "a.parquet", student_folders["anna"], trained, questions, tmp_path)
    assert {(row.question_id, row.style) for row in rows} == {
        (f"q{n}", style) for n in range(5) for style in ("facts", FREE)
    }
    assert {(row.student, row.training, row.split) for row in rows} == {("anna", "untrained", "test")}
    prompts = [student_prompt(questions[row.question_id].question, STYLES.get(row.style)) for row in rows]
    assert sorted(decoded) == sorted(prompts)
    decoded.clear()
    assert ask(tmp_path / "b.parquet", student_folders["anna"], trained, questions, tmp_path) == rows  # logprob too
    assert decoded == []
    ask(tmp_path / "c.parquet", student_folders["anna"], trained, questions, tmp_path, max_tokens=5)
    assert sorted(decoded) == sorted(prompts)  # another limit
    decoded.clear()
    ask(tmp_path / "d.parquet", student_folders["ben"], trained, questions, tmp_path)
    assert sorted(decoded) == sorted(prompts)  # other weights under the same name


def test_what_another_process_is_decoding_is_waited_for(tmp_path, student_folders, trained, questions, decoded):
    student, config = StudentConfig(name="anna", model=str(student_folders["anna"])), EvaluateConfig(max_tokens=6)
    theirs = student_prompt(questions["q3"].question, STYLES["facts"])
    request = untrained._requests(student, config, tmp_path)(theirs)
    with ReplyCache(tmp_path / "replies.sqlite") as other:
        assert other.claim([request.key]) == {request.key}
        reply = Reply(text="The answer is 1.", completion_tokens=5, response='{"logprob": -2.5}')
        later = threading.Timer(1.0, lambda: other.settle([(request, reply)]))
        later.start()
        rows = ask(tmp_path / "a.parquet", student_folders["anna"], trained, questions, tmp_path)
        later.join()
    (waited,) = [row for row in rows if (row.question_id, row.style) == ("q3", "facts")]
    assert (waited.text, waited.logprob, waited.tokens, waited.correct) == ("The answer is 1.", -2.5, 5, True)
    assert len(decoded) == len(rows) - 1
    assert theirs not in decoded


def test_the_gain_is_of_the_same_prompts(trained, questions, make_answer):
    beside = [
        make_answer("anna", f"q{n}", style, "1" if n == 0 else "9").model_copy(update={"training": "untrained"})
        for n in range(5)
        for style in ("facts", FREE)
    ]
    found = score([*trained, *beside], questions, EvaluateConfig())
    gain = found["gain"]
    assert (gain["mode"], gain["students"], gain["n"]) == ("styled", ["anna"], 5)
    assert (gain["untrained"], gain["trained"]) == (0.2, 1.0)
    assert gain["gain"]["difference"] == pytest.approx(0.8)
    heads = {head["student"]: head for head in found["headlines"]}
    assert heads["anna"]["styled_gain"]["second"] == "anna@base/facts"
    assert heads["anna"]["styled_gain"]["difference"] == pytest.approx(0.8)
    assert heads["anna"]["free_gain"]["difference"] == pytest.approx(-0.2)
    assert heads["anna@base"]["styled"]["accuracy"] == 0.2
    assert score(trained, questions, EvaluateConfig())["gain"] is None
