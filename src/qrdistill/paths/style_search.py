"""Automatic style search (an open question of arXiv 2508.16861): propose, try, score, keep the best.

Round by round a teacher proposes new style instructions, having seen how existing styles fared on a few
questions; each candidate is tried on the same small set of training questions. Its score is

    score = yield x distance

    yield     share of its paths that pass the filter, 0 to 1
    distance  1 - the largest, over existing styles, of the mean Jaccard similarity (word 3-grams) of its
              paths to that style's paths for the same question, 0 to 1

so that a style which only renames an old one counts for as little as one whose paths are wrong. All
requests go through the reply cache: a search that was killed goes on where it was, at no extra cost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from qrdistill.base.errors import InputError, TeacherError
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.records import Question, ReasoningPath, Record, path_id
from qrdistill.base.store import write_table, write_text
from qrdistill.base.untrusted.yaml_file import dump_yaml
from qrdistill.llm.ask import Job, fill
from qrdistill.llm.client import ChatConfig, Requests
from qrdistill.llm.live_counts import Budget
from qrdistill.llm.reply_cache import Reply, ReplyCache
from qrdistill.paths.config import PathsConfig
from qrdistill.paths.duplicates import word_grams
from qrdistill.paths.style_proposals import LONGEST_INSTRUCTION, proposal_prompt, read_proposals, style_of
from qrdistill.paths.styles import Style, resolve_styles
from qrdistill.paths.teachers import Draft
from qrdistill.paths.wanted_paths import ChatRequests

# paths in, the ids of those that pass: the pipeline's own filter, handed in because it stands above
Keep = Callable[[Mapping[str, Question], Sequence[ReasoningPath]], set[str]]


class Candidate(Record):
    """One style that was tried. Round 0 holds the styles that the search started from."""

    round: int
    name: str
    instruction: str
    hint: str
    description: str = ""
    generated: int = 0  # paths
    kept: int = 0
    share_kept: float = 0.0
    distance: float = 1.0
    score: float = 0.0
    usd: float = 0.0  # its paths, and its share of what the round's proposals cost
    accepted: bool = False
    reason: str = ""  # why it was not


def search_styles(
    questions: Sequence[Question],
    teacher: ChatConfig,
    config: PathsConfig,
    *,
    keep: Keep,
    folder: Path,
    cache: ReplyCache,
    base_dir: Path,
    seed: int,
    rounds: int = 1,
    num_candidates: int = 4,
    num_accepted: int = 1,
    num_questions: int = 20,
    lowest_score: float = 0.1,
    progress: Progress | None = None,
) -> list[Candidate]:
    """Every candidate with its score and cost, in the order tried.

    Writes `candidates.parquet` and `styles.yaml` (the accepted ones, ready for `paths.styles`) into
    `folder` after each round. Raises InputError without train questions, TeacherError where the teacher
    proposes nothing usable in any round, and what `fill` raises.
    """
    progress = progress or Silent()
    train = [question for question in questions if question.split == "train"]
    if not train:
        raise InputError("a style search needs train questions; the config loads none (questions.train)")
    tried = random.Random(f"style-search/{seed}").sample(train, min(num_questions, len(train)))
    budget = Budget(config.budget_usd, config.budget_tokens)
    trial = _Trial(tried, teacher, keep, cache=cache, base_dir=base_dir, budget=budget, progress=progress)

    progress.start("styles", rounds)
    styles = resolve_styles(config.styles)
    candidates = [trial.score(style, 0, {}) for style in styles.values()]
    known = {name: trial.paths[name] for name in styles}
    for number in range(1, rounds + 1):
        proposed, usd = _propose(number, num_candidates, styles, trial, teacher)
        share = usd / max(1, len(proposed))
        scored: list[Candidate] = []
        for proposal in proposed:
            problem = style_of(proposal, {*styles, *(candidate.name for candidate in scored)})
            if isinstance(problem, str):
                scored.append(_unusable(number, proposal, problem))
            else:
                scored.append(trial.score(problem, number, known))
        best = sorted(scored, key=lambda one: (-one.score, one.name))[:num_accepted]
        for candidate in scored:
            accepted = candidate in best and candidate.score >= lowest_score
            reason = candidate.reason or ("" if accepted else "others scored higher, or it scored too low")
            changes = {"accepted": accepted, "reason": reason, "usd": candidate.usd + share}
            candidates.append(candidate.model_copy(update=changes))
            if accepted:
                name = candidate.name
                styles[name] = Style(name, candidate.instruction, candidate.hint, candidate.description)
                known[name] = trial.paths[name]
        _write(folder, candidates)
        progress.advance(accepted=sum(one.accepted for one in candidates), tried=len(candidates))
    if not any(one.round and one.generated for one in candidates):
        raise TeacherError(
            f"teacher {teacher.name!r} proposed no usable style in {rounds} rounds (see {folder}); a stronger "
            "model may, or write one yourself"
        )
    progress.done(accepted=sum(one.accepted for one in candidates), usd=f"{sum(c.usd for c in candidates):.4f}")
    return candidates


class _Trial:
    """Lets the teacher write in a style for the trial questions, and remembers what came of it."""

    def __init__(
        self,
        questions: Sequence[Question],
        teacher: ChatConfig,
        keep: Keep,
        *,
        cache: ReplyCache,
        base_dir: Path,
        budget: Budget,
        progress: Progress,
    ) -> None:
        self.questions = {question.id: question for question in questions}
        self.teacher, self._keep = teacher, keep
        self._cache, self._base_dir = cache, base_dir
        self._budget, self._progress = budget, progress
        self.paths: dict[str, list[ReasoningPath]] = {}  # style -> what was written in it
        self.kept: dict[str, set[str]] = {}

    def score(self, style: Style, round: int, known: Mapping[str, Sequence[ReasoningPath]]) -> Candidate:
        paths = self._paths(style, round)
        kept = self._keep(self.questions, paths) if paths else set[str]()
        self.paths[style.name], self.kept[style.name] = paths, kept
        self._progress.log(f"{style.name}: {len(kept)} of {len(self.questions)} questions have a path that passes")
        share = len(kept) / len(self.questions)
        distance = 1 - max((_similarity(paths, others) for others in known.values()), default=0.0)
        return Candidate(
            round=round,
            name=style.name,
            instruction=style.instruction,
            hint=style.hint,
            description=style.description,
            generated=len(paths),
            kept=len(kept),
            share_kept=share,
            distance=distance,
            score=share * distance if paths else 0.0,
            usd=sum(path.cost for path in paths),
        )

    def _paths(self, style: Style, round: int) -> list[ReasoningPath]:
        from qrdistill.answers.check import extract

        questions = list(self.questions.values())
        source = ChatRequests(self.teacher, questions, [style], 1, cache=self._cache, base_dir=self._base_dir)
        self.fill(Job(self.teacher, source, len(source)))
        slots = source.slots(questions)
        return [
            ReasoningPath(
                id=path_id(round, slot.question.id, slot.teacher, style.name, 0),
                round=round,
                question_id=slot.question.id,
                teacher=slot.teacher,
                style=style.name,
                prompt_hash=slot.prompt_hash,
                text=slot.outcome.text,
                thought=slot.outcome.thought,
                answer=extract(slot.question, slot.outcome.text, cut=slot.outcome.finish_reason == "length").answer,
                finish_reason=slot.outcome.finish_reason,
                prompt_tokens=slot.outcome.prompt_tokens,
                completion_tokens=slot.outcome.completion_tokens,
                cost=slot.outcome.cost,
            )
            for question in questions
            for slot in slots[question.id]
            if isinstance(slot.outcome, Draft)
        ]

    def fill(self, job: Job) -> None:
        # what one call's walk counts must not be counted again by the next: a fresh budget each time
        left = Budget(
            None if self._budget.usd is None else self._budget.usd - self._budget.spent_usd,
            None if self._budget.tokens is None else self._budget.tokens - self._budget.spent_tokens,
        )
        try:
            fill([job], self._cache, base_dir=self._base_dir, budget=left, progress=_Aside(self._progress))
        finally:
            self._budget.spent_usd += left.spent_usd
            self._budget.spent_tokens += left.spent_tokens

    def ask(self, prompt: str, *, sample: int) -> Reply | None:
        request = Requests(self.teacher, base_dir=self._base_dir)([("user", prompt)], sample=sample, label="propose")
        self.fill(Job(self.teacher, [request], 1))
        return self._cache.replies([request]).get(request.key)


class _Aside(Silent):
    """Passes warnings and log lines on, and leaves the stage's count alone."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def log(self, message: str) -> None:
        self._progress.log(message)

    def warn(self, message: str) -> None:
        self._progress.warn(message)


def _similarity(paths: Sequence[ReasoningPath], others: Sequence[ReasoningPath]) -> float:
    """Mean Jaccard similarity over the questions that both have a path for; 0 if there are none."""
    theirs = {path.question_id: word_grams(path.text) for path in others}
    pairs = [(word_grams(path.text), theirs[path.question_id]) for path in paths if path.question_id in theirs]
    return fmean(len(one & two) / len(one | two) for one, two in pairs) if pairs else 0.0


def _propose(
    number: int, count: int, styles: Mapping[str, Style], trial: _Trial, teacher: ChatConfig
) -> tuple[list[object], float]:
    """What the teacher proposes, unchecked, and its cost; asked twice if the first reply cannot be read."""
    prompt = proposal_prompt(count, styles, trial.paths, trial.kept, trial.questions)
    usd = 0.0
    for attempt in range(2):
        reply = trial.ask(prompt, sample=2 * number + attempt)
        usd += reply.cost if reply else 0.0
        found = read_proposals(reply.text if reply else "")
        if found:
            return found[:count], usd
    return [], usd


def _unusable(number: int, proposal: object, reason: str) -> Candidate:
    fields = proposal if isinstance(proposal, dict) else {}
    texts = {
        name: str(fields.get(name, ""))[:LONGEST_INSTRUCTION] for name in ("name", "instruction", "hint", "description")
    }
    return Candidate.model_validate({"round": number, "reason": reason, "distance": 0.0, **texts})


def _write(folder: Path, candidates: Sequence[Candidate]) -> None:
    write_table(folder / "candidates.parquet", Candidate, candidates)
    chosen = [
        {"name": one.name, "instruction": one.instruction, "hint": one.hint, "description": one.description}
        for one in candidates
        if one.accepted
    ]
    text = dump_yaml(chosen)
    write_text(folder / "styles.yaml", f"# found by a style search; add these to paths.styles\n{text}")
