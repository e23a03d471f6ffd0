"""The checks that need no judge, each a function from open cases to findings."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from qrdistill.base.records import Question
from qrdistill.verdicts.checks.contamination import Contamination
from qrdistill.verdicts.checks.form import language, leak, over_long
from qrdistill.verdicts.checks.program import program
from qrdistill.verdicts.config import FilterConfig
from qrdistill.verdicts.open_case import Case, Check, Finding

KEEP = Finding("keep")


def truncated(cases: Sequence[Case]) -> list[Finding]:
    """Drops replies that the token limit or the provider's content filter cut."""
    reasons = {"length": "cut by the token limit", "content_filter": "cut by the content filter"}
    return [
        Finding("drop", reasons[case.path.finish_reason]) if case.path.finish_reason in reasons else KEEP
        for case in cases
    ]


def duplicate(cases: Sequence[Case]) -> list[Finding]:
    """Drops a path whose words are exactly those of an earlier path for the same question."""
    first: dict[tuple[str, str], str] = {}
    findings: list[Finding] = []
    for case in cases:
        key = case.question.id, " ".join(case.path.text.split())
        original = first.setdefault(key, case.path.id)
        findings.append(KEEP if original == case.path.id else Finding("drop", f"same text as {original}"))
    return findings


def answer(cases: Sequence[Case]) -> list[Finding]:
    """Drops paths whose stated answer is not the gold answer; undecided where none can be compared."""
    from qrdistill.answers.check import check_many

    outcomes = {"correct": "keep", "wrong": "drop", "undecided": "undecided"}
    checked = check_many((case.question, case.path.text, case.path.finish_reason == "length") for case in cases)
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


def cheap_checks(config: FilterConfig, questions: Mapping[str, Question]) -> list[Check]:
    """Those that come before any judge: what text alone shows first, then the answer, then the program."""
    candidates: list[Check | None] = [
        Check("truncated", truncated) if config.truncated else None,
        Check("duplicate", duplicate) if config.deduplicate else None,
        Check("over_long", over_long(config.max_characters)) if config.max_characters is not None else None,
        Check("language", language) if config.language else None,
        Check("leak", leak) if config.leak else None,
        Check("contamination", Contamination(questions, config).run) if config.contamination else None,
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
