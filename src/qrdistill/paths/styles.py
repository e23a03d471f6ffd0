"""Reasoning styles as data: what a teacher is asked for, and how a student is told which to use.

The six are the paper's (arXiv 2508.16861, section on reasoning-path generation); the wording is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrdistill.base.errors import ConfigError
from qrdistill.base.plugins import registry
from qrdistill.base.records import FREE, Question
from qrdistill.paths.config import StyleConfig


@dataclass(frozen=True)
class Style:
    """One way to write a reasoning path.

    `instruction` goes to the teacher. `hint` is the short sentence that stands *after* the question
    in a student's prompt, so that prompts of one question share their prefix and the style can be
    chosen at inference.
    """

    name: str
    instruction: str
    hint: str
    description: str


VANILLA = Style("vanilla", "Solve the problem.", "Solve it.", "no instruction on form")
CHAIN_OF_THOUGHT = Style(
    "chain_of_thought",
    "Solve the problem step by step: one short step per line, each following from the ones before.",
    "Think step by step.",
    "explicit steps",
)
TREE_OF_THOUGHTS = Style(
    "tree_of_thoughts",
    "First sketch two or three different ways to solve the problem, one line each. Say which is the "
    "most promising and why, then carry out only that one.",
    "Compare approaches first.",
    "several approaches sketched, the most promising carried out",
)
PROGRAM = Style(
    "program",
    "Write a short Python program that computes the answer and prints it, then state the result.",
    "Write a program.",
    "code that computes the answer, then the result",
)
BACKWARD = Style(
    "backward",
    "Solve the problem, then verify the result backwards: start from the proposed answer and check "
    "that it leads back to what the question states. Correct it if it does not.",
    "Verify backwards.",
    "an answer proposed forward, verified backwards",
)
FACTS = Style(
    "facts",
    "First list the facts and rules that the problem needs, then reason from them to the answer.",
    "Recall the facts first.",
    "relevant facts first, then reasoning from them",
)

STYLES: dict[str, Style] = {
    style.name: style for style in (VANILLA, CHAIN_OF_THOUGHT, TREE_OF_THOUGHTS, PROGRAM, BACKWARD, FACTS)
}


def resolve_styles(names: Sequence[str | StyleConfig]) -> dict[str, Style]:
    """The styles a config names, in its order; raises ConfigError for an unknown one."""
    styles: dict[str, Style] = {}
    for index, entry in enumerate(names):
        if isinstance(entry, StyleConfig):
            style = Style(entry.name, entry.instruction, entry.hint, entry.description)
        else:
            style = registry.find("styles", entry, key=f"paths.styles.{index}")
        if style.name in styles or style.name == FREE:
            raise ConfigError(f"style name {style.name!r} is taken", key=f"paths.styles.{index}")
        styles[style.name] = style
    return styles


def student_prompt(question: str, style: Style | None) -> str:
    """What a student reads: the question, a newline, the style's hint, a newline (no hint: free).

    Where the student has a chat template, this is the user's message, without the last newline.
    """
    return f"{question}\n{style.hint}\n" if style else f"{question}\n"


def with_closing_line(question: Question) -> Question:
    """The question as students read it under `train.closing_line`: with the line that teachers are asked to close with."""
    return question.model_copy(update={"question": closed(question.question, question.kind)})


def closed(question: str, kind: str) -> str:
    """The same of a question's text and its kind of answer."""
    from qrdistill.answers.check import answer_format

    return f"{question}\n{answer_format(kind)}"
