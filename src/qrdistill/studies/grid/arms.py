"""The arms of the studies: each a name, a sentence, and what it changes in the user's config.

Every arm gives each student the same number of paths per step: with S students a routed arm draws
S times as many from the pool, so that arms compare at equal training compute per student. The one
exception, everyone on everything at the routed arms' pool rate, says so in its title.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from qrdistill.base.errors import InputError
from qrdistill.paths.styles import resolve_styles
from qrdistill.runs.config import Config

Group = Literal["baseline", "part", "extension"]


@dataclass(frozen=True)
class Arm:
    """`changes` are dotted keys and their values, applied on top of the study's config."""

    name: str
    title: str
    group: Group
    changes: Mapping[str, Any]

    def config(self, base: Config, extra: Mapping[str, Any] | None = None) -> Config:
        data = base.model_dump(mode="json")
        for key, value in {**self.changes, **(extra or {})}.items():
            here: Any = data
            *parents, last = (int(part) if part.isdigit() else part for part in key.split("."))
            for part in parents:
                here = here[part]
            here[last] = value
        return Config.model_validate(data)


def baselines(config: Config) -> list[Arm]:
    """What any method must beat: no training, one style, everything, and the plain ways to share out."""
    styles = list(resolve_styles(config.paths.styles))
    names = [student.name for student in config.students]
    paths = config.train.paths_per_step
    wide = paths * len(names)
    split = {style: names[index * len(names) // len(styles)] for index, style in enumerate(styles)}
    arms = [Arm("zero-shot", "untrained students", "baseline", {"train.steps": 0, "own_paths.rounds": 0})]
    plain: dict[str, Any] = {"own_paths.rounds": 0, "mutual.weight": 0.0, "train.paths_per_step": paths}
    for style in styles:
        # a student of one style has nobody to vote with but its own answers in styles it was not taught
        only = {
            **plain,
            "router.kind": "best_style",
            "router.styles": dict.fromkeys(names, style),
            "evaluate.vote": False,
        }
        arms.append(Arm(f"only-{style}", f"one style: {style}", "baseline", only))
    routed = {**plain, "train.paths_per_step": wide}
    arms += [
        Arm("all", "all styles for everyone", "baseline", {**plain, "router.kind": "all"}),
        Arm(
            "all-wide",
            f"all styles for everyone, {len(names)} x the tokens",
            "baseline",
            {**routed, "router.kind": "all"},
        ),
        Arm("random", "random routing", "baseline", {**routed, "router.kind": "random"}),
        Arm(
            "best-style",
            "each student's best style by the untrained student's dev accuracy",
            "baseline",
            {**routed, "router.kind": "best_style", "router.styles": {}},
        ),
        Arm("fixed-loss", "fixed split by base loss", "baseline", {**routed, "router.kind": "fixed_loss"}),
        Arm(
            "style-split",
            "hand-made style split",
            "baseline",
            {**routed, "router.kind": "style", "router.styles": split},
        ),
    ]
    return arms


def parts(config: Config) -> list[Arm]:
    """The paper's method and each of its parts off, one at a time."""
    wide = config.train.paths_per_step * len(config.students)
    learned: dict[str, Any] = {
        "own_paths.rounds": 0,
        "mutual.weight": 0.0,
        "train.paths_per_step": wide,
        "router.kind": "learned",
    }
    everyone: dict[str, Any] = {
        "own_paths.rounds": 0,
        "mutual.weight": 0.0,
        "router.kind": "all",
        "train.paths_per_step": config.train.paths_per_step,
    }
    return [
        Arm(
            "all-unfiltered", "all styles, no filter", "part", {**everyone, "filter.answer": False, "filter.judges": []}
        ),
        Arm("all-answer", "all styles, answer filter only", "part", {**everyone, "filter.judges": []}),
        Arm("learned", "learned routing", "part", learned),
        Arm(
            "learned-unfiltered",
            "learned routing, no filter",
            "part",
            {**learned, "filter.answer": False, "filter.judges": []},
        ),
        Arm("learned-mutual", "learned routing + mutual distillation", "part", {**learned, "mutual.weight": 0.1}),
        Arm(
            "learned-blind",
            "learned routing without the learning state",
            "part",
            {**learned, "router.learning_state": False},
        ),
        Arm(
            "learned-unbalanced", "learned routing without the balance term", "part", {**learned, "router.balance": 0.0}
        ),
    ]


def extensions(config: Config) -> list[Arm]:
    """What goes past the paper: further assignments, and the students' own verified paths."""
    wide = config.train.paths_per_step * len(config.students)
    routed: dict[str, Any] = {"own_paths.rounds": 0, "mutual.weight": 0.0, "train.paths_per_step": wide}
    best: dict[str, Any] = {**routed, "router.kind": "best_style", "router.styles": {}}
    return [
        Arm(
            "bandit",
            "routing by dev accuracy per style",
            "extension",
            {**routed, "router.kind": "bandit", "train.eval_every": 30},
        ),
        Arm("balanced", "balanced assignment by comparative loss", "extension", {**routed, "router.kind": "balanced"}),
        Arm(
            "learned-dense",
            "soft gates, every student on every path",
            "extension",
            {**routed, "router.kind": "learned", "router.peer_loss": "dense"},
        ),
        Arm(
            "best-own",
            "each student's best style, then own verified paths",
            "extension",
            {**best, "own_paths.rounds": 2},
        ),
    ]


def by_name(config: Config) -> dict[str, Arm]:
    """Every arm above under its name."""
    return {arm.name: arm for arm in (*baselines(config), *parts(config), *extensions(config))}


def choose(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    """The named arms, in their own order; all of them where no name is given. Raises InputError."""
    known = [arm.name for arm in arms]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise InputError(
                f"no arm {name!r}{f'; did you mean {near[0]}?' if near else ''} There are: {', '.join(known)}"
            )
    return [arm for arm in arms if not names or arm.name in names]
