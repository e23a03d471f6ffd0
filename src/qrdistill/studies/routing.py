"""`study routing`: what does the router decide by, is it more than chance, and would it decide so again?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from qrdistill.report.study_results import Estimate, StudyRecord, StudyResults, estimated
from qrdistill.report.study_words import claim, spread
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.outcomes import change, figure, share
from qrdistill.studies.grid.page import finish
from qrdistill.studies.grid.study import Setup, Variant, arm_titles, needs_all_arms, run_arms, run_name
from qrdistill.studies.grid.summary import summarise, tuned_arms
from qrdistill.studies.measures.agreement import agreement
from qrdistill.studies.measures.routing_records import ALPHA, RoutingFigures, RunRouting, read_routing
from qrdistill.studies.pages.routing_page import parts

RESTART_SEEDS = (1001, 1002)  # of train.seed: another router, order and dropout over the same data
LEARNED, RANDOM = "learned", "random"
QUESTIONS = (
    ("learned", "random", "Does learned routing beat random routing?"),
    ("learned", "fixed-loss", "Does learned routing beat a fixed split by base loss?"),
)
CAVEAT = (
    "Information is counted over each path's last assignment in the second half of training; it says "
    "what the assignment goes along with, not what caused it. Agreement up to the students' names is "
    "biased upwards: the renaming is chosen on the paths it is measured on."
)

Runs = Mapping[str, Mapping[int, RunRouting]]  # arm -> seed -> its routing


class Pair(StudyRecord):
    """Two runs' assignments of the paths that both were given; see `measures.agreement.Agreement`."""

    kind: Literal["restarts", "chance", "fixed-loss"]
    seed: int
    first: str
    second: str
    share: Estimate
    kappa: Estimate
    relabelled_share: float
    relabelled_kappa: float


class PairsOverSeeds(StudyRecord):
    """Agreement over data seeds; the pairs of one seed are averaged first."""

    share: Estimate
    kappa: Estimate
    relabelled_kappa: Estimate


class ArmInformation(StudyRecord):
    """What one facet of a path tells about its student, in nats, over the seeds of an arm."""

    arm: str
    facet: str
    runs: int
    limit: float
    chance: float
    excess: Estimate
    """Beyond chance."""
    significant: int
    """Runs whose permutation test is below 5 %."""
    largest_p: float
    paths: int
    against_random: Estimate | None
    """Minus random routing's; None for random routing itself."""


class RoutingResults(StudyResults):
    routing: dict[str, dict[int, RoutingFigures]] = Field(default_factory=dict)
    """Arm -> seed -> what its router did."""
    information: list[ArmInformation] = Field(default_factory=list)
    agreement: list[Pair] = Field(default_factory=list)
    agreement_over_seeds: dict[str, PairsOverSeeds] = Field(default_factory=dict)


def restarts(learned: Arm) -> list[Arm]:
    return [
        Arm(
            f"{LEARNED}-{place}",
            f"{learned.title}, restart {place - 1}",
            "part",
            {**learned.changes, "train.seed": seed},
        )
        for place, seed in enumerate(RESTART_SEEDS, start=2)
    ]


def routing(setup: Setup) -> RoutingResults:
    """Assignments over time, against chance, and over router restarts. Writes study.json and report.html."""
    needs_all_arms(setup)
    plain = by_name(setup.config)
    arms = [plain[LEARNED], *restarts(plain[LEARNED]), plain[RANDOM], plain["fixed-loss"]]
    variant = Variant("routing", setup.config.questions.task)
    chosen = tuned_arms(setup, variant, [plain[LEARNED], plain[RANDOM], plain["fixed-loss"]])
    if chosen:  # a restart is the same arm again
        chosen = {**chosen, **{arm.name: chosen[LEARNED] for arm in arms if arm.name.startswith(LEARNED)}}
    outcomes = run_arms(setup, variant, arms, chosen)
    runs = {
        arm.name: {seed: read_routing(setup.folder / run_name(variant, arm.name, seed, chosen)) for seed in setup.seeds}
        for arm in arms
    }
    pairs = all_pairs(runs)
    asked = "What does the router decide by, and would it decide so again?"
    result = setup.results(RoutingResults, "routing", "Routing", asked).having(
        arms=arm_titles(arms),
        conditions={variant.name: summarise(variant, outcomes, chosen, QUESTIONS)},
        routing={name: {seed: one.figures() for seed, one in found.items()} for name, found in runs.items()},
        information=information(runs),
        agreement=pairs,
        agreement_over_seeds=over_pairs(pairs),
    )
    return finish(setup, result, parts(result), findings=findings(result), caveats=[CAVEAT])


def all_pairs(runs: Runs) -> list[Pair]:
    """Restarts of the learned router among each other, and each against chance and the fixed split."""
    learned = [name for name in runs if name.startswith(LEARNED)]
    wanted: list[tuple[Literal["restarts", "chance", "fixed-loss"], str, str]] = [
        *(("restarts", a, b) for a, b in itertools.combinations(learned, 2)),
        *(("chance", a, RANDOM) for a in learned),
        *(("fixed-loss", a, "fixed-loss") for a in learned),
    ]
    return [
        pair
        for kind, first, second in wanted
        for seed, one in runs[first].items()
        if (pair := _pair(kind, seed, (first, one), (second, runs[second][seed])))
    ]


def _pair(
    kind: Literal["restarts", "chance", "fixed-loss"],
    seed: int,
    first: tuple[str, RunRouting],
    second: tuple[str, RunRouting],
) -> Pair | None:
    one, other = first[1].last, second[1].last
    shared = [path for path in one if path in other]
    if not shared:
        return None
    found = agreement([one[path] for path in shared], [other[path] for path in shared])
    same, rated = estimated(found.share), estimated(found.kappa)
    assert same is not None
    assert rated is not None
    return Pair(
        kind=kind,
        seed=seed,
        first=first[0],
        second=second[0],
        share=same,
        kappa=rated,
        relabelled_share=found.relabelled_share,
        relabelled_kappa=found.relabelled_kappa,
    )


def over_pairs(pairs: Sequence[Pair]) -> dict[str, PairsOverSeeds]:
    """Kind -> agreement with an interval over data seeds: the pairs of one seed are averaged first."""
    found: dict[str, PairsOverSeeds] = {}
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        per_seed = [
            [pair for pair in pairs if pair.seed == seed and pair.kind == kind]
            for seed in dict.fromkeys(pair.seed for pair in pairs)
        ]
        own = [rows for rows in per_seed if rows]
        same = share([_mean([pair.share.estimate for pair in rows]) for rows in own])
        rated = change([_mean([pair.kappa.estimate for pair in rows]) for rows in own])
        renamed = change([_mean([pair.relabelled_kappa for pair in rows]) for rows in own])
        if same and rated and renamed:
            found[kind] = PairsOverSeeds(share=same, kappa=rated, relabelled_kappa=renamed)
    return found


def information(runs: Runs) -> list[ArmInformation]:
    """Arm and facet: information beyond chance over seeds, how often it is significant, and minus random's."""
    rows: list[ArmInformation] = []
    for arm, found in runs.items():
        for facet in next(iter(found.values())).late:
            late = [one.late[facet] for one in found.values()]
            against = [one.late[facet].excess - runs[RANDOM][seed].late[facet].excess for seed, one in found.items()]
            excess = figure([one.excess for one in late])
            if excess is None:
                continue  # too few steps: nothing was assigned in the second half
            rows.append(
                ArmInformation(
                    arm=arm,
                    facet=facet,
                    runs=len(late),
                    limit=_mean([one.limit for one in late]),
                    chance=_mean([one.chance for one in late]),
                    excess=excess,
                    significant=sum(one.p <= ALPHA for one in late),
                    largest_p=max(one.p for one in late),
                    paths=min(one.n for one in late),
                    against_random=figure(against) if arm != RANDOM else None,
                )
            )
    return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def findings(result: RoutingResults) -> list[str]:
    """The study's answer in sentences."""
    sentences: list[str] = []
    for row in result.information:
        if row.arm != LEARNED or row.against_random is None:
            continue
        goes = "goes along with" if claim(row.excess) > 0 else "is not shown to go along with"
        sentences.append(
            f"The learned assignment {goes} {row.facet}: {_nats(row.excess)} beyond chance, of at most "
            f"{row.limit:.2f}; the permutation test is significant at 5 % in {row.significant} of {row.runs} runs."
        )
        shown = {1: "more than", -1: "less than", 0: "not shown to differ from"}[claim(row.against_random)]
        sentences.append(f"That is {shown} random routing's: a difference of {_nats(row.against_random)}.")
    again = result.agreement_over_seeds.get("restarts")
    if again:
        verdict = "agree" if claim(again.kappa) > 0 else "are not shown to agree"
        sentences.append(
            f"Router restarts over the same data {verdict} beyond chance: kappa {again.kappa.estimate:.2f} "
            f"({spread(again.kappa)}); {100 * again.share.estimate:.0f} % of the paths go to the same student; kappa up "
            f"to the students' names {again.relabelled_kappa.estimate:.2f}."
        )
    verdicts = [
        one.verdict for name, found in result.routing.items() if name.startswith(LEARNED) for one in found.values()
    ]
    collapsed = sum(text.startswith("collapse") for text in verdicts)
    chance = sum(text.startswith("near-random") for text in verdicts)
    sentences.append(
        f"Of {len(verdicts)} learned routers {collapsed or 'none'} collapsed onto one student and {chance or 'none'} "
        f"{'was' if chance == 1 else 'were'} near-random at the end."
    )
    return sentences


def _nats(value: Estimate) -> str:
    return f"{value.estimate:.2f} nats ({spread(value)})"
