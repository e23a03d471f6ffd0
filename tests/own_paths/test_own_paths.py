import json

import pytest

from qrdistill.base.progress import Silent
from qrdistill.base.records import Question, ReasoningPath
from qrdistill.base.store import TableWriter, read_table
from qrdistill.commands.show import show
from qrdistill.own_paths import sample
from qrdistill.own_paths.config import OwnPathsConfig
from qrdistill.own_paths.sample import agreed_gold, eligibility, steps_of_round
from qrdistill.paths.styles import resolve_styles, student_prompt
from qrdistill.runs.pipeline import run
from qrdistill.students import best_style, loading
from qrdistill.students.best_style import StyleTrial
from qrdistill.students.config import StudentConfig
from qrdistill.students.decode import decode as decoding
from qrdistill.students.decode.decode import Completion
from qrdistill.training.config import TrainConfig


def own(student, question="q1", text="2 + 2 = 4\nThe answer is 4.", sample=0, answer="4"):
    return ReasoningPath(
        id=f"1/{question}/{student}/vanilla/{sample}",
        round=1,
        question_id=question,
        teacher=student,
        style="vanilla",
        sample=sample,
        prompt_hash="x",
        text=text,
        answer=answer,
    )


def question(identity, gold):
    return Question(id=identity, split="train", task="t", family="f", kind="number", question="2 + 2 = ?", gold=gold)


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("steps", [1, 10, 101])
def test_all_rounds_together_spend_the_steps(steps, rounds):
    config, own = TrainConfig(steps=steps), OwnPathsConfig(rounds=rounds)
    assert sum(steps_of_round(config, own, r) for r in range(rounds + 1)) == steps


def test_who_trains_on_whose_paths():
    paths = [own("a"), own("a", sample=1), own("b", "q2")]  # a's two texts are the same
    names = ["a", "b", "c"]
    kept, allowed = eligibility(paths, names, "own")
    assert [path.id for path in kept] == [paths[0].id, paths[2].id]
    assert allowed == {paths[0].id: {"a"}, paths[2].id: {"b"}}
    assert eligibility(paths, names, "peer")[1] == {paths[0].id: {"b", "c"}, paths[2].id: {"a", "c"}}
    both = [own("a"), own("b")]
    filled = eligibility(both, names, "fill")[1]
    assert filled == {both[0].id: {"a", "c"}, both[1].id: {"b", "c"}}  # each has its own; c has none


def test_a_teachers_path_in_a_students_style_leaves_a_peer_nothing_to_fill():
    paths = [own("a"), own("b", "q2")]
    taught = own("scripted").model_copy(update={"style": "vanilla"})  # of q1, in the style that both write in
    assert eligibility(paths, ["a", "b"], "fill")[1] == {
        paths[0].id: {"a", "b"},
        paths[1].id: {"a", "b"},
    }
    assert eligibility(paths, ["a", "b"], "fill", taught=[taught])[1] == {
        paths[0].id: {"a"},
        paths[1].id: {"a", "b"},
    }
    other = taught.model_copy(update={"style": "facts"})
    assert eligibility(paths, ["a", "b"], "fill", taught=[other])[1][paths[0].id] == {"a", "b"}


def test_a_single_student_has_no_peers():
    assert eligibility([own("a")], ["a"], "peer") == ([], {"1/q1/a/vanilla/0": frozenset()})


def test_agreement_stands_in_for_gold_and_never_reads_it():
    questions = {name: question(name, gold) for name, gold in (("q1", "4"), ("q2", "9"), ("q3", "1"))}
    answers = {"q1": ["4", "4", "5"], "q2": ["3", "3", "3"], "q3": ["1", "2", "3"]}
    paths = [own("a", name, sample=n, answer=text) for name, texts in answers.items() for n, text in enumerate(texts)]
    agreed, unsettled, facts = agreed_gold(questions, paths, set(), 0.6)
    assert {name: row.gold for name, row in agreed.items()} == {"q1": "4", "q2": "3", "q3": None}
    assert list(unsettled) == ["q3"]
    assert "sampled paths state one answer, fewer than own_paths.min_agreement" in unsettled["q3"]
    assert facts == {"precision": 0.5, "coverage": pytest.approx(2 / 3)}
    without_gold = {name: row.model_copy(update={"gold": None}) for name, row in questions.items()}
    assert {n: row.gold for n, row in agreed_gold(without_gold, paths, set(), 0.6)[0].items()} == {
        "q1": "4",
        "q2": "3",
        "q3": None,
    }
    taught = agreed_gold(questions, paths, {"q1", "q2", "q3"}, 0.6)[0]
    assert {name: row.gold for name, row in taught.items()} == {"q1": "4", "q2": "9", "q3": "1"}


def test_a_student_samples_in_the_style_that_it_is_best_at(tmp_path, monkeypatch):
    accuracy = {
        "a": {"vanilla": 0.2, "facts": 0.7, "program": 0.5},
        "b": {"vanilla": 0.9, "facts": 0.1, "program": 0.5},
    }
    prompted: dict[str, set[str]] = {}

    def decode(student, prompts, *, samples=1, **_):
        prompted.setdefault(student, set()).update(prompts)
        return [[Completion("The answer is 4.", -1.0, 3, "stop")] * samples for _ in prompts]

    def tried(write, asked, styles, *, max_tokens, stop):
        assert max_tokens == 6
        return {
            style: StyleTrial("1" * int(10 * share) + "0" * (10 - int(10 * share)), 1.0)
            for style, share in accuracy[write.name].items()
        }

    monkeypatch.setattr(best_style, "try_styles", tried)
    monkeypatch.setattr(loading, "load_student", lambda settings, **_: settings.name)
    monkeypatch.setattr(decoding, "decode", decode)
    styles = resolve_styles(["vanilla", "facts", "program"])
    with TableWriter(tmp_path / "paths.parquet", ReasoningPath) as out:
        sampled = sample.sample_paths(
            [StudentConfig(name=name, model="none") for name in accuracy],
            [question("q1", "4")],
            styles,
            OwnPathsConfig(rounds=1, samples=2),
            round=1,
            out=out,
            base_dir=tmp_path,
            seed=0,
            dev_tokens=6,
            progress=Silent(),
        )
    assert sampled.styles == {"a": "facts", "b": "vanilla"}
    rows = [(path.teacher, path.style, path.sample) for path in read_table(tmp_path / "paths.parquet", ReasoningPath)]
    assert rows == [("a", "facts", 0), ("a", "facts", 1), ("b", "vanilla", 0), ("b", "vanilla", 1)]
    assert prompted == {
        name: {student_prompt("2 + 2 = ?", styles[style])} for name, style in (("a", "facts"), ("b", "vanilla"))
    }


def test_two_rounds_run_resume_and_keep_their_lineage(tmp_path):
    """Without gold answers; the gaps below are asked with them."""
    config = {
        "name": "rounds",
        "questions": {"train": 12, "dev": 1, "test": 1},
        "teachers": [{"name": "t", "kind": "lab", "coverage": 0.5}],
        "train": {"steps": 6, "paths_per_step": 4, "warmup": 1},
        "own_paths": {"rounds": 2, "ask": "all", "samples": 2, "max_tokens": 40, "gold": False},
        "evaluate": {"max_tokens": 20, "free": False},
    }
    done = run(config, tmp_path, until="train")
    stages = json.loads((tmp_path / "manifest.json").read_text())["stages"]
    assert [name for name in stages if name.startswith(("train", "sample", "gather"))] == [
        "train@0",
        "sample@1",
        "train@1",
        "sample@2",
        "train@2",
        "gather",
    ]
    assert sum(stages[f"train@{r}"]["counts"]["steps"] for r in range(3)) == 6
    sampled = list(done.own_paths())
    assert len(sampled) == 2 * 2 * 2 * 12  # rounds x students x samples x questions
    assert {path.teacher for path in sampled} == {"mistral", "gemma"}
    kept = {row.path_id for row in done.own_verdicts() if row.check == "filter" and row.outcome == "keep"}
    trained = {row.path_id for row in done.assignments() if row.path_id.startswith(("1/", "2/"))}
    assert trained <= kept
    assert {row.round for row in done.assignments()} == {0, 1, 2}
    before = (tmp_path / "students/mistral/model.safetensors").read_bytes()
    (tmp_path / "rounds/2/students/mistral/model.safetensors").unlink()
    run(config, tmp_path, until="train")
    assert (tmp_path / "students/mistral/model.safetensors").read_bytes() == before


def test_gaps_are_the_questions_without_a_kept_path_in_the_students_style(tmp_path, capsys):
    config = {
        "name": "gaps",
        "questions": {"train": 20, "dev": 2, "test": 1, "options": {"hard": 0.0}},
        "teachers": [{"name": "t", "kind": "lab", "coverage": 0.6}],
        "filter": {"judges": ["lab"]},
        "train": {"steps": 3, "paths_per_step": 4, "warmup": 0},
        "own_paths": {"rounds": 2, "samples": 2, "max_tokens": 60},
        "evaluate": {"max_tokens": 60, "free": False},
    }
    done = run(config, tmp_path, until="train")
    counts = {
        name: one["counts"] for name, one in json.loads((tmp_path / "manifest.json").read_text())["stages"].items()
    }
    train = {row.id for row in done.questions() if row.split == "train"}

    def kept(paths, verdicts):
        good = {row.path_id for row in verdicts if row.check == "filter" and row.outcome == "keep"}
        return [path for path in paths if path.id in good]

    teachers, own_kept = kept(done.paths(), done.verdicts()), kept(done.own_paths(), done.own_verdicts())
    answered = 0
    for round in (1, 2):
        for student, style in counts[f"sample@{round}"]["styles"].items():
            asked = {p.question_id for p in done.own_paths() if p.round == round and p.teacher == student}
            covered = {p.question_id for p in teachers if p.style == style}
            before = {p.question_id for p in own_kept if p.round < round and p.teacher == student and p.style == style}
            assert asked == train - covered - before
            assert covered
            answered += len(before - covered)
    assert answered  # what the first round solved, the second did not ask again
    assert len(list(done.own_paths())) == counts["sample@1"]["paths"] + counts["sample@2"]["paths"]
    show(tmp_path, "own_paths", ["decision=keep"], limit=1000, as_json=True)
    assert {row["id"] for row in json.loads(capsys.readouterr().out)} == {path.id for path in own_kept}


def test_what_a_student_thought_is_parted_from_its_answer_and_taught_again() -> None:
    question = Question(id="a", split="train", task="t", family="f", kind="number", question="3 + 4?", gold="7")
    completion = Completion("<think>\n3 + 4 = 8\n</think>\n\nThe answer is 7.", -1.0, 9, "stop")
    path = sample._as_path(question, "ada", "facts", 0, completion, 1)
    assert (path.thought, path.text, path.answer) == ("3 + 4 = 8", "The answer is 7.", "7")
    assert path.lesson == completion.text
    plain = sample._as_path(question, "ada", "facts", 0, Completion("The answer is 7.", -1.0, 9, "stop"), 1)
    assert (plain.thought, plain.thinking, plain.lesson) == ("", "drop", "The answer is 7.")
