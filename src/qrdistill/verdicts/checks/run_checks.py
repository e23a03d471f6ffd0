"""The checks that need no judge, each a function from open cases to findings."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from qrdistill.base.records import ReasoningPath
from qrdistill.llm.finish_reasons import ending
from qrdistill.verdicts.checks.contamination import Contamination
from qrdistill.verdicts.checks.form import language, leak, over_long
from qrdistill.verdicts.checks.program import program
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.open_case import Case, Check, Finding

KEEP = Finding("keep")


def ended(cases: Sequence[Case]) -> list[Finding]:
    """Drops what was withheld or broke off; undecided where nothing was answered, or nobody knows why it ended."""
    return [_ended(case.path) for case in cases]


def _ended(path: ReasoningPath) -> Finding:
    meaning = ending(path.finish_reason)
    if meaning == "refused":
        return Finding("drop", f"withheld ({path.finish_reason})")
    if meaning == "transient":
        return Finding("drop", f"broken off ({path.finish_reason})")
    if path.thought and not path.text.strip():
        return Finding("undecided", "a thought without an answer")
    if meaning == "unknown":
        return Finding("undecided", f"it ended for a reason that is not known ({path.finish_reason})")
    if path.thinking == "only" and not path.thought:
        return Finding("drop", "no thought, which is all that trains (thinking: only)")
    return KEEP


def truncated(cases: Sequence[Case]) -> list[Finding]:
    """Drops replies that the token limit cut."""
    cut = Finding("drop", "cut by the token limit")
    return [cut if ending(case.path.finish_reason) == "cut" else KEEP for case in cases]


def duplicate(cases: Sequence[Case]) -> list[Finding]:
    """Drops a path whose words are exactly those of an earlier path for the same question."""
    first: dict[tuple[str, str], str] = {}
    findings: list[Finding] = []
    for case in cases:
        key = case.question.id, " ".join(case.path.lesson.split())
        original = first.setdefault(key, case.path.id)
        findings.append(KEEP if original == case.path.id else Finding("drop", f"same text as {original}"))
    return findings


def answer(cases: Sequence[Case]) -> list[Finding]:
    """Drops paths whose stated answer is not the gold answer; undecided where none can be compared."""
    from qrdistill.answers.check import check_many

    outcomes = {"correct": "keep", "wrong": "drop", "undecided": "undecided"}
    checked = check_many((case.question, case.path.text, ending(case.path.finish_reason) == "cut") for case in cases)
    return [Finding(outcomes[one.outcome], one.reason) for one in checked]  # pyright: ignore[reportArgumentType]


def near_duplicate(threshold: float) -> Check:
    """Drops a path that repeats an earlier *sound* path of its question almost word for word.

    It comes after the judge: a changed number is a small change of the text, and the path that was
    first may be the wrong one.
    """

    def run(cases: Sequence[Case]) -> list[Finding]:
        from qrdistill.paths.duplicates import near_duplicates

        repeats = near_duplicates((case.path for case in cases), threshold)
        return [
            Finding("drop", f"almost the text of {repeats[case.path.id]}") if case.path.id in repeats else KEEP
            for case in cases
        ]

    return Check("near_duplicate", run)


def surplus(limit: int, seed: int) -> Check:
    """Keeps at most `limit` paths per question, chosen by a seeded hash of their ids.

    In canonical order the first styles and teachers would win every time.
    """

    def rank(case: Case) -> str:
        return hashlib.blake2b(f"{seed}/{case.path.id}".encode(), digest_size=8).hexdigest()

    def run(cases: Sequence[Case]) -> list[Finding]:
        groups: defaultdict[str, list[Case]] = defaultdict(list)
        for case in cases:
            groups[case.question.id].append(case)
        chosen = {case.path.id for group in groups.values() for case in sorted(group, key=rank)[:limit]}
        over = Finding("drop", f"more than filter.keep = {limit} sound paths")
        return [KEEP if case.path.id in chosen else over for case in cases]

    return Check("surplus", run)


def agreement(unsettled: Mapping[str, str]) -> Check:
    """Leaves undecided the paths of questions whose answer nobody settled, whatever their kind compares with."""

    def run(cases: Sequence[Case]) -> list[Finding]:
        reasons = [unsettled.get(case.question.id) for case in cases]
        return [KEEP if reason is None else Finding("undecided", reason) for reason in reasons]

    return Check("agreement", run)


def cheap_checks(
    config: FilterConfig, contamination: Contamination | None, unsettled: Mapping[str, str]
) -> list[Check]:
    """Those that come before any judge: what text alone shows first, then the answer, then the program."""
    candidates: list[Check | None] = [
        Check("ended", ended),
        Check("truncated", truncated) if config.truncated else None,
        Check("duplicate", duplicate) if config.deduplicate else None,
        Check("over_long", over_long(config.max_characters)) if config.max_characters is not None else None,
        Check("language", language) if config.language else None,
        Check("leak", leak) if config.leak else None,
        Check("contamination", contamination.run) if contamination else None,
        agreement(unsettled) if config.answer and unsettled else None,
        Check("answer", answer) if config.answer else None,
        Check("program", program) if config.program else None,
    ]
    return [check for check in candidates if check is not None]


def late_checks(config: FilterConfig, *, seed: int) -> list[Check]:
    """Those that choose among paths found sound."""
    candidates = [
        near_duplicate(config.near_duplicate) if config.deduplicate else None,
        surplus(config.keep, seed) if config.keep != "all" else None,
    ]
    return [check for check in candidates if check is not None]
