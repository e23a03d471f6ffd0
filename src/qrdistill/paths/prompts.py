"""What a teacher is told: the question, the style's instruction, and how to close.

The question comes first, so that providers which charge less for a repeated prefix charge less for
the styles of one question. The six styles are worded anew per task family where the general wording
would not fit: a program for a choice question, say, has to compare options. The wording is ours.
"""

from __future__ import annotations

from typing import Literal

from qrdistill.base.records import Question
from qrdistill.paths.styles import STYLES, Style

Family = Literal["math", "choice", "yes_no", "nli", "table", "general"]

_BY_KIND: dict[str, Family] = {
    "number": "math",
    "math": "math",
    "choice": "choice",
    "yes_no": "yes_no",
    "nli": "nli",
}

INSTRUCTIONS: dict[Family, dict[str, str]] = {
    "math": {
        "vanilla": "Solve the problem.",
        "chain_of_thought": (
            "Solve the problem step by step: one short step per line, each with its calculation written out "
            "and each following from the ones before."
        ),
        "tree_of_thoughts": (
            "First sketch two or three different ways to solve the problem, one line each, without "
            "calculating. Say which is the most promising and why, then carry out only that one."
        ),
        "program": (
            "Write a short Python program that computes the answer from the numbers in the problem and "
            "prints it. Use variable names that say what each number is, and the standard library only. "
            "Then state what it prints."
        ),
        "backward": (
            "Solve the problem, then verify the result backwards: start from the proposed answer, undo the "
            "steps, and check that you arrive at the numbers the problem states. Correct the answer if you "
            "do not."
        ),
        "facts": (
            "First list the quantities that the problem states and the formulas or rules that connect them, "
            "one per line. Then reason from this list to the answer and use nothing that is not on it."
        ),
    },
    "choice": {
        "vanilla": "Answer the question.",
        "chain_of_thought": ("Reason step by step, one short step per line, until exactly one of the options is left."),
        "tree_of_thoughts": (
            "First take the two or three options that could be right and sketch in one line each what would "
            "speak for it. Say which is the most promising and why, then examine only that one in full."
        ),
        "program": (
            "Write a short Python program that holds the options with what is known about each, tests every "
            "option against what the question demands, and prints the letter of the one that passes. Use "
            "the standard library only. Then state what it prints."
        ),
        "backward": (
            "Choose an option, then verify it backwards: assume that it is right, derive what would follow, "
            "and check that this fits the question; check also that the next best option does not fit. "
            "Choose again if it fails."
        ),
        "facts": (
            "First list the facts that are needed to tell the options apart, one per line. Then reason from "
            "them to one option."
        ),
    },
    "yes_no": {
        "vanilla": "Answer the question.",
        "chain_of_thought": "Reason step by step, one short step per line, until yes or no follows.",
        "tree_of_thoughts": (
            "First sketch in one line each the strongest reason for yes and the strongest reason for no. Say "
            "which is the more promising and why, then carry out only that line of reasoning in full."
        ),
        "program": (
            "Write a short Python program that states the needed facts as variables, combines them by a "
            "condition that is true exactly if the answer is yes, and prints yes or no. Use the standard "
            "library only. Then state what it prints."
        ),
        "backward": (
            "Propose yes or no, then verify it backwards: assume the opposite and look for what contradicts "
            "it. Change the answer if nothing does."
        ),
        "facts": "First list the facts that decide the question, one per line, then reason from them.",
    },
    "nli": {
        "vanilla": "Say how the hypothesis relates to the premise.",
        "chain_of_thought": (
            "Go through the hypothesis claim by claim, one short step per line: say what the premise states "
            "about it, nothing more, and conclude from that."
        ),
        "tree_of_thoughts": (
            "First sketch in one line each what would make the relation entailment, neutral, or "
            "contradiction here. Say which is the most promising and why, then carry out only that one."
        ),
        "program": (
            "Write a short Python program that states what the premise asserts and what the hypothesis "
            "claims as variables, compares them claim by claim, and prints the relation. Use the standard "
            "library only. Then state what it prints."
        ),
        "backward": (
            "Propose the relation, then verify it backwards: describe a situation in which the premise is "
            "true and the hypothesis is false, and one in which both are true. Correct the relation if it "
            "does not fit what is possible."
        ),
        "facts": (
            "First list what the premise states and what follows from it by common knowledge, one per line. "
            "Then compare the hypothesis with this list."
        ),
    },
    "table": {
        "vanilla": "Answer the question from the table.",
        "chain_of_thought": (
            "Reason step by step, one short step per line: name the rows and columns you need, read their "
            "values, then calculate."
        ),
        "tree_of_thoughts": (
            "First sketch two or three different ways to get the answer from the table, one line each. Say "
            "which is the most promising and why, then carry out only that one."
        ),
        "program": (
            "Write a short Python program that holds the needed part of the table as a dictionary or list, "
            "computes the answer from it and prints it. Use the standard library only. Then state what it "
            "prints."
        ),
        "backward": (
            "Answer from the table, then verify the result backwards: start from the proposed answer and "
            "check that it agrees with every table entry it depends on. Correct it if it does not."
        ),
        "facts": (
            "First copy the table entries that the question needs, one per line with row and column, then "
            "reason from them only."
        ),
    },
}


def family(question: Question) -> Family:
    """The family of templates for a question, from its kind, and from its data where it has a table."""
    if question.task == "tabmwp" or "table" in question.metadata:
        return "table"
    return _BY_KIND.get(question.kind, "general")


def instruction(question: Question, style: Style) -> str:
    """A user's own style, also one that took a built-in name, is used word for word."""
    if STYLES.get(style.name) != style:
        return style.instruction
    return INSTRUCTIONS.get(family(question), {}).get(style.name, style.instruction)


def teacher_messages(question: Question, style: Style, system: str | None = None) -> tuple[tuple[str, str], ...]:
    """(role, content) pairs: a system prompt if there is one, then question, instruction, closing line."""
    from qrdistill.answers.check import answer_format

    content = f"{question.question}\n\n{instruction(question, style)}\n{answer_format(question.kind)}"
    return (("system", system), ("user", content)) if system else (("user", content),)
