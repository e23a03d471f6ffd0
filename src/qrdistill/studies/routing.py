"""`study routing`: what does the router decide by, is it more than chance, and would it decide so again?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

from qrdistill.base.store import write_json
from qrdistill.report.study_page import Chart, Line, Panel, Part, Table
from qrdistill.scores.statistics import Interval, over_seeds
from qrdistill.studies.ablation import summarise, tuned_arms
from qrdistill.studies.grid.arms import Arm, by_name
from qrdistill.studies.grid.measures import Agreement, agreement
from qrdistill.studies.grid.page import write_pages
from qrdistill.studies.grid.study import (
    Setup,
    Variant,
    established,
    finite,
    needs_all_arms,
    run_arms,
    run_name,
)
from qrdistill.studies.router_records import ALPHA, Trace, trace

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


@dataclass(frozen=True)
class Pair:
    """Two runs' assignments of the paths that both were given."""

    kind: str  # restarts, chance or fixed-loss
    seed: int
    first: str
    second: str
    found: Agreement

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "seed": self.seed,
            "first": self.first,
            "second": self.second,
            "share": self.found.share._asdict(),
            "kappa": self.found.kappa._asdict(),
            "relabelled_share": self.found.relabelled_share,
            "relabelled_kappa": self.found.relabelled_kappa,
        }


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


def routing(setup: Setup) -> dict[str, Any]:
    """Assignments over time, against chance, and over router restarts. Writes study.json and report.html."""
    needs_all_arms(setup)
    plain = by_name(setup.config)
    arms = [plain[LEARNED], *restarts(plain[LEARNED]), plain[RANDOM], plain["fixed-loss"]]
    variant = Variant("routing", setup.config.questions.task)
    chosen = tuned_arms(setup, variant, [plain[LEARNED], plain[RANDOM], plain["fixed-loss"]])
    if chosen:  # a restart is the same arm again
        chosen |= {arm.name: chosen[LEARNED] for arm in arms if arm.name.startswith(LEARNED)}
    outcomes = run_arms(setup, variant, arms, chosen)
    traces = {
        arm.name: {seed: trace(setup.folder / run_name(variant, arm.name, seed, chosen)) for seed in setup.seeds}
        for arm in arms
    }
    pairs = all_pairs(traces)
    result: dict[str, Any] = {
        "study": "routing",
        "seeds": list(setup.seeds),
        "tuned": setup.tune,
        "arms": {arm.name: (arm.title, arm.group) for arm in arms},
        "conditions": {variant.name: summarise(variant, outcomes, chosen, QUESTIONS)},
        "routing": {
            "runs": {name: {seed: one.as_dict() for seed, one in found.items()} for name, found in traces.items()},
            "information": information(traces),
            "agreement": [pair.as_dict() for pair in pairs],
            "agreement_over_seeds": over_pairs(pairs),
        },
    }
    write_json(setup.folder / "study.json", finite(result))
    write_pages(
        setup,
        result,
        "Routing",
        "What does the router decide by, and would it decide so again?",
        parts(traces, result),
        findings=findings(traces, result),
        caveats=[CAVEAT],
    )
    return finite(result)


# --- figures --------------------------------------------------------------------------------------


def all_pairs(traces: Mapping[str, Mapping[int, Trace]]) -> list[Pair]:
    """Restarts of the learned router among each other, and each against chance and the fixed split."""
    learned = [name for name in traces if name.startswith(LEARNED)]
    wanted = [("restarts", a, b) for a, b in itertools.combinations(learned, 2)]
    wanted += [("chance", a, RANDOM) for a in learned]
    wanted += [("fixed-loss", a, "fixed-loss") for a in learned]
    found: list[Pair] = []
    for kind, first, second in wanted:
        for seed, one in traces[first].items():
            other = traces[second][seed]
            shared = [path for path in one.last if path in other.last]
            if shared:
                rated = agreement([one.last[path] for path in shared], [other.last[path] for path in shared])
                found.append(Pair(kind, seed, first, second, rated))
    return found


def over_pairs(pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """Kind -> agreement with an interval over data seeds: the pairs of one seed are averaged first."""
    found: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(pair.kind for pair in pairs):
        per_seed: dict[str, list[float]] = {"share": [], "kappa": [], "relabelled_kappa": []}
        for seed in dict.fromkeys(pair.seed for pair in pairs):
            own = [pair.found for pair in pairs if pair.seed == seed and pair.kind == kind]
            if own:
                per_seed["share"].append(_mean([one.share.estimate for one in own]))
                per_seed["kappa"].append(_mean([one.kappa.estimate for one in own]))
                per_seed["relabelled_kappa"].append(_mean([one.relabelled_kappa for one in own]))
        found[kind] = {name: over_seeds(values)._asdict() for name, values in per_seed.items()}
    return found


def information(traces: Mapping[str, Mapping[int, Trace]]) -> list[dict[str, Any]]:
    """Arm and facet: information beyond chance over seeds, how often it is significant, and minus random's."""
    rows: list[dict[str, Any]] = []
    for arm, found in traces.items():
        for facet in next(iter(found.values())).late:
            late = [one.late[facet] for one in found.values()]
            excess = over_seeds([one.excess for one in late])
            against = [one.late[facet].excess - traces[RANDOM][seed].late[facet].excess for seed, one in found.items()]
            rows.append(
                {
                    "arm": arm,
                    "facet": facet,
                    "limit": _mean([one.limit for one in late]),
                    "chance": _mean([one.chance for one in late]),
                    "excess": excess._asdict(),
                    "significant": sum(one.p <= ALPHA for one in late),
                    "largest_p": max(one.p for one in late),
                    "paths": min(one.n for one in late),
                    "against_random": over_seeds(against)._asdict() if arm != RANDOM else None,
                }
            )
    return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- words ----------------------------------------------------------------------------------------


def _said(value: Mapping[str, Any], unit: str = "") -> str:
    estimate = f"{value['estimate']:.2f}{unit}"
    if not isfinite(value["low"]):
        return f"{estimate} (one seed, no interval)"
    return f"{estimate} (95 % interval {value['low']:.2f} to {value['high']:.2f}, {value['n']} seeds)"


def findings(traces: Mapping[str, Mapping[int, Trace]], result: Mapping[str, Any]) -> list[str]:
    sentences: list[str] = []
    for row in result["routing"]["information"]:
        if row["arm"] != LEARNED:
            continue
        claim = "goes along with" if established(row["excess"]) > 0 else "is not shown to go along with"
        sentences.append(
            f"The learned assignment {claim} {row['facet']}: {_said(row['excess'], ' nats')} beyond chance, of at most "
            f"{row['limit']:.2f}; the permutation test is significant at 5 % in {row['significant']} of "
            f"{len(traces[LEARNED])} runs."
        )
        more = row["against_random"]
        words = {1: "more than", -1: "less than", 0: "not shown to differ from"}
        shown = words[established(more)]
        sentences.append(f"That is {shown} random routing's: a difference of {_said(more, ' nats')}.")
    again = result["routing"]["agreement_over_seeds"].get("restarts")
    if again:
        verdict = "agree" if established(again["kappa"]) > 0 else "are not shown to agree"
        sentences.append(
            f"Router restarts over the same data {verdict} beyond chance: kappa {_said(again['kappa'])}; "
            f"{100 * again['share']['estimate']:.0f} % of the paths go to the same student; kappa up to the students' names "
            f"{again['relabelled_kappa']['estimate']:.2f}."
        )
    verdicts = [
        one.verdict for found in (traces[name] for name in traces if name.startswith(LEARNED)) for one in found.values()
    ]
    collapsed = sum(text.startswith("collapse") for text in verdicts)
    chance = sum(text.startswith("near-random") for text in verdicts)
    sentences.append(
        f"Of {len(verdicts)} learned routers {collapsed or 'none'} collapsed onto one student and {chance or 'none'} "
        f"{'was' if chance == 1 else 'were'} near-random at the end."
    )
    return sentences


# --- page -----------------------------------------------------------------------------------------


def parts(traces: Mapping[str, Mapping[int, Trace]], result: Mapping[str, Any]) -> list[Part]:
    titles = {name: text for name, (text, _) in result["arms"].items()}
    return [_over_time(traces), _informed(traces, result, titles), _again(result, titles)]


def _over_time(traces: Mapping[str, Mapping[int, Trace]]) -> Part:
    seed, first = next(iter(traces[LEARNED].items()))
    middles = [(start + stop) / 2 for start, stop in itertools.pairwise(first.edges)]
    return Part(
        title="Who gets what, over time",
        text=[f"The maps are those of the learned router with seed {seed}; the shares are means over seeds."],
        charts=[
            *(
                Chart(
                    kind="heat",
                    caption=f"Share of each {facet}'s paths that a student got (seed {seed}), over training steps.",
                    panels=[Panel(label=name, cells=list(cells.values())) for name, cells in found.items()],
                    rows=list(next(iter(found.values()))),
                    edges=first.edges,
                )
                for facet, found in first.cells.items()
            ),
            Chart(
                kind="curves",
                caption="Share of the paths per student, learned routing.",
                x="step",
                y="share, %",
                lines=[
                    _line(
                        name,
                        middles,
                        [
                            [100 * one.share[name][place] for one in traces[LEARNED].values()]
                            for place in range(len(middles))
                        ],
                    )
                    for name in first.share
                ],
            ),
        ],
        tables=[
            Table(
                title="In words",
                columns=["arm", "seed", "what the router does at the end", "soft information, nats", "of at most"],
                rows=[
                    [name, seed, one.verdict, round(one.soft, 3), round(log(max(2, len(one.share))), 3)]
                    for name, found in traces.items()
                    if name.startswith(LEARNED)
                    for seed, one in found.items()
                ],
                note="Soft information: what a path tells about its student by the router's own probabilities.",
            )
        ],
    )


def _informed(traces: Mapping[str, Mapping[int, Trace]], result: Mapping[str, Any], titles: Mapping[str, str]) -> Part:
    first = next(iter(traces[LEARNED].values()))
    middles = [(start + stop) / 2 for start, stop in itertools.pairwise(first.edges)]
    return Part(
        title="What the assignment goes along with",
        charts=[
            Chart(
                kind="curves",
                caption="Mutual information of style and student over training, nats; bars: 95 % intervals over seeds.",
                x="step",
                y="nats",
                lines=[
                    _line(
                        titles[name],
                        middles,
                        [[one.information["style"][place] for one in found.values()] for place in range(len(middles))],
                    )
                    for name, found in traces.items()
                    if name in (LEARNED, RANDOM, "fixed-loss")
                ],
            )
        ],
        tables=[
            Table(
                title="Mutual information with the student, nats",
                columns=[
                    "arm",
                    "with",
                    "beyond chance",
                    "low",
                    "high",
                    "chance",
                    "at most",
                    "significant runs",
                    "largest p",
                    "minus random",
                    "low ",
                    "high ",
                    "seeds",
                    "paths",
                ],
                rows=[
                    [
                        titles[row["arm"]],
                        row["facet"],
                        *_cells(row["excess"]),
                        round(row["chance"], 3),
                        round(row["limit"], 3),
                        f"{row['significant']}/{row['excess']['n']}",
                        round(row["largest_p"], 4),
                        *(_cells(row["against_random"]) if row["against_random"] else [None, None, None]),
                        row["excess"]["n"],
                        row["paths"],
                    ]
                    for row in result["routing"]["information"]
                ],
                note="Beyond chance: minus the mean over permutations. Intervals: Student's t over seeds.",
            )
        ],
    )


def _again(result: Mapping[str, Any], titles: Mapping[str, str]) -> Part:
    over = result["routing"]["agreement_over_seeds"]
    names = {
        "restarts": "restarts of the learned router",
        "chance": "learned against random",
        "fixed-loss": "learned against the fixed split by base loss",
    }
    return Part(
        title="Would it decide so again?",
        tables=[
            Table(
                title="Agreement over seeds",
                columns=["pairs", "kappa", "low", "high", "same student, %", "kappa up to names", "seeds"],
                rows=[
                    [
                        names[kind],
                        *_cells(one["kappa"]),
                        round(100 * one["share"]["estimate"], 1),
                        round(one["relabelled_kappa"]["estimate"], 3),
                        one["kappa"]["n"],
                    ]
                    for kind, one in over.items()
                ],
                note="Cohen's kappa over the paths that both runs drew, each run's last assignment; pairs of a seed averaged.",
            ),
            Table(
                title="Every pair",
                columns=[
                    "first",
                    "second",
                    "seed",
                    "kappa",
                    "low",
                    "high",
                    "same student, %",
                    "kappa up to names",
                    "paths",
                ],
                rows=[
                    [
                        titles[pair["first"]],
                        titles[pair["second"]],
                        pair["seed"],
                        *_cells(pair["kappa"]),
                        round(100 * pair["share"]["estimate"], 1),
                        round(pair["relabelled_kappa"], 3),
                        pair["kappa"]["n"],
                    ]
                    for pair in result["routing"]["agreement"]
                ],
                note="Intervals: bootstrap over paths.",
            ),
        ],
    )


def _line(label: str, x: Sequence[float], values: Sequence[Sequence[float]]) -> Line:
    """`values`: per point, one figure per seed."""
    found: list[Interval] = [over_seeds(point) for point in values]
    bars = all(isfinite(one.low) for one in found)
    return Line(
        label=label,
        x=list(x),
        y=[one.estimate for one in found],
        low=[one.low for one in found] if bars else None,
        high=[one.high for one in found] if bars else None,
    )


def _cells(value: Mapping[str, Any]) -> list[str | float | int | None]:
    return [round(value[key], 3) if isfinite(value[key]) else None for key in ("estimate", "low", "high")]
