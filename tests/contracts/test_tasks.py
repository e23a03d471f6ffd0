"""The contract of every task: its checker accepts its gold answers in ten natural ways, and rejects
near misses; what it renders it reads back; no text makes it raise or hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrdistill.answers.check import canonical, check, extract, render
from qrdistill.answers.numerals import parse_number
from qrdistill.base.plugins import registry
from qrdistill.base.records import Question
from qrdistill.questions import paper_tasks
from qrdistill.questions.config import QuestionsConfig
from qrdistill.questions.load import load_questions

SAMPLES = Path(__file__).parents[2] / "examples" / "tasks"
EIGHT = sorted(path.stem for path in SAMPLES.glob("*.yaml"))


def sample(task: str) -> list[Question]:
    config = yaml.safe_load((SAMPLES / f"{task}.yaml").read_text(encoding="utf-8"))["questions"]
    return load_questions(QuestionsConfig(**config), seed=0, base_dir=SAMPLES)


SAMPLED = {task: sample(task) for task in EIGHT}
QUESTIONS = [question for questions in SAMPLED.values() for question in questions]

COMMON = [
    "The answer is {}.",
    "So the final answer is: {}",
    "**Answer:** {}",
    "Therefore, the correct answer is **{}**.",
    "First I thought the answer is {miss}. That was wrong: the answer is {}.",
    '{{"reasoning": "see above", "answer": "{json}"}}',
    "All of this leads to\n\n\\boxed{{{}}}",
    "Final Answer: {}\nI hope it is correct.",
    "<answer>{}</answer>",
    "{}",
]


def ways(question: Question) -> list[str]:
    """The gold answer in at least ten natural ways of this kind."""
    gold = question.gold or ""
    miss = near_misses(question)[0]
    quoted = gold.replace("\\", "\\\\")
    texts = [form.format(gold, miss=miss, json=quoted) for form in COMMON]
    match question.kind:
        case "number":
            number = parse_number(gold)
            assert number is not None
            texts += [
                f"#### {gold}",
                f"3 + 4 = 7, and so on.\nSo there are {gold} of them.",
                f"The answer is $\\mathbf{{x}} = {gold}$.",
            ]
            if number.value.denominator == 1:
                texts += [f"The answer is {number.value}.00", f"The answer is ${int(number.value):,}."]
        case "math":
            texts += [
                f"Hence ${gold}$.",
                f"\\[ {gold} \\]",
                f"The result:\n\n$$\\boxed{{{gold}}}$$",
                f"The answer is $\\left. {gold} \\right.$",
            ]
        case "choice":
            text = question.metadata["options"][gold]
            texts += [
                f"The answer is ({gold}).",
                f"The answer is ({gold}) {text}.",
                f"The answer is {text}.",
                f"Option {gold} is right: ({gold})",
                f"The best choice is **{text}**.",
                f"\\boxed{{\\text{{{gold}}}}}",
            ]
        case "yes_no":
            texts += [
                f"{gold.title()}, because of what was said.",
                f"{gold.upper()}.",
                f"So the answer would be {gold}, it seems.",
                f"The answer is {'true' if gold == 'yes' else 'false'}.",
            ]
        case "nli":
            verb = {
                "entailment": "entails",
                "contradiction": "contradicts",
                "neutral": "neither entails nor contradicts",
            }[gold]
            texts += [
                f"Therefore the premise {verb} the hypothesis.",
                f"The label is {gold}.",
                f"The answer is {gold.title()}.",
                f"#### {gold}",
            ]
        case "date":
            month, day, year = gold.split("/")
            names = "January February March April May June July August September October November December".split()  # noqa: SIM905
            written = names[int(month) - 1]
            texts += [
                f"It is {year}-{month}-{day}.",
                f"The answer is {written} {int(day)}, {year}.",
                f"The answer is {int(day)} {written} {year}.",
                f"The answer is {int(month)}/{int(day)}/{year}.",
            ]
        case "text":
            texts += [f"The answer is {gold.upper()}.", f'The answer is "{gold}".', f"#### {gold}"]
    return texts


def near_misses(question: Question) -> list[str]:
    gold = question.gold or ""
    match question.kind:
        case "number":
            number = parse_number(gold)
            assert number is not None
            value = number.value
            return [
                str(value + 1),
                f"-{gold}",
                str(value * 10),
                f"{float(value) + 0.01:.4f}",
                f"{value} + 1 = {value + 1}",
            ]
        case "math":
            return [
                f"{gold} + 1",
                "12345",
                f"2 \\cdot ({gold})" if "," not in gold else gold.split(",")[0].strip("([ "),
            ]
        case "choice":
            others = [letter for letter in question.metadata["options"] if letter != gold]
            return [others[0], *[question.metadata["options"][letter] for letter in others]]
        case "yes_no":
            return ["no" if gold == "yes" else "yes", "true" if gold == "no" else "false"]
        case "nli":
            return [label for label in ("entailment", "neutral", "contradiction") if label != gold]
        case "date":
            month, day, year = gold.split("/")
            return [
                f"{month}/{day}/{int(year) + 1}",
                f"{month}/{int(day) % 28 + 1:02}/{year}",
                f"{int(month) % 12 + 1:02}/{min(int(day), 28):02}/{year}",
            ]
        case _:
            return [f"{gold}s and more", "Thu", "nothing"]


def test_the_eight_tasks_have_samples() -> None:
    ours = {name for name in registry.bundled("tasks") if registry.find("tasks", name) is paper_tasks.load}
    assert set(EIGHT) == ours
    assert len(ours) == 8
    assert {question.kind for question in QUESTIONS} == set(registry.bundled("comparers")) - {"reasoning_gym"}


@pytest.mark.parametrize("task", EIGHT)
class TestEveryTask:
    def test_gold_answers_are_accepted_in_ten_natural_ways(self, task: str) -> None:
        for question in SAMPLED[task]:
            written = ways(question)
            assert len(set(written)) >= 10
            failed = {text: checked for text in written if (checked := check(question, text)).outcome != "correct"}
            assert not failed, question.id

    def test_near_misses_are_not_accepted(self, task: str) -> None:
        for question in SAMPLED[task]:
            for miss in near_misses(question):
                for form in ("The answer is {}.", "Hence \\boxed{{{}}}"):
                    checked = check(question, form.format(miss))
                    assert checked.outcome != "correct", (question.id, miss, checked)
                stated = render(question.kind, miss)
                assert check(question, stated).outcome in ("wrong", "undecided"), (question.id, miss)
            assert check(question, "").outcome == "undecided", question.id
            assert check(question, "I do not know.").outcome == "undecided", question.id

    def test_what_is_rendered_is_read_back(self, task: str) -> None:
        for question in SAMPLED[task]:
            gold = question.gold or ""
            read = extract(question, render(question.kind, gold)).answer
            assert read == gold, question.id
            assert canonical(question, gold) == canonical(question, read), question.id

    def test_the_prompt_is_never_read(self, task: str) -> None:
        """A completion that repeats the question states no answer by that."""
        for question in SAMPLED[task]:
            repeated = check(question, f"{question.question}\n\nLet me think about this question again?")
            assert repeated.outcome == "undecided", (question.id, repeated)


PIECES = st.sampled_from(
    [
        "The answer is ",
        "\\boxed{",
        "}",
        "{",
        "$",
        "\\[",
        "\\]",
        "####",
        '{"answer": ',
        '"',
        "[",
        "]",
        "(",
        ")",
        "A",
        "(B)",
        "yes",
        "no",
        "not",
        "neutral",
        "entails",
        "1,000",
        "3/4",
        "1 1/2",
        "-",
        "%",
        "5",
        "05/01/2021",
        "May 1st, 2021",
        "\\frac",
        "\n",
        " ",
        ". ",
        "**",
        "=",
        ",",
        "and",
        "or",
        "<answer>",
        "</answer>",
        "1e5",
        "x",
        "²",
        "½",
        "−",
        "because",
        "I hope",
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=40).map("".join))
BY_KIND = {question.kind: question for question in QUESTIONS}


@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(completion=TEXTS)
def test_no_text_makes_an_extractor_raise_or_hang(completion: str) -> None:
    """500 strings, each through every extractor."""
    for question in BY_KIND.values():
        started = time.process_time()
        extracted = extract(question, completion)
        assert time.process_time() - started < 2.0  # of processor time, some thousand times the cost
        if extracted.answer is None:
            assert extracted.reason
        else:
            assert extracted.answer.strip()
            canonical(question, extracted.answer)


REPEATED = [
    "1",
    "1,",
    "1 ",
    "1/",
    "{",
    "}",
    "\\boxed{",
    "$",
    "The answer is ",
    "####",
    '{"answer":',
    "answer ",
    "(A",
    "-",
    "not ",
    "\\frac1",
    ". ",
    "a ",
    " ",
    "<answer>",
    "=",
    "\\[",
    "**",
]


@pytest.mark.parametrize("kind", sorted(BY_KIND))
def test_long_repetitions_stay_fast(kind: str) -> None:
    """Twice the length costs about twice the time: no pattern explodes (bound far above the cost)."""
    for unit in REPEATED:
        started = time.process_time()
        extract(BY_KIND[kind], unit * (20_000 // len(unit)))
        assert time.process_time() - started < 4.0, unit
