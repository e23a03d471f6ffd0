"""What a changed key runs again. The table below is written by hand, so that it does not repeat the code's lists."""

from __future__ import annotations

import copy
import typing
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from pydantic import ValidationError

from qrdistill.base.plugins import registry
from qrdistill.base.plugins.kinds import Kinds
from qrdistill.base.settings import Settings
from qrdistill.runs.config import Config
from qrdistill.runs.declared_keys import settings_of, view
from qrdistill.runs.stages import stages

# every kind of every section, none left at a default that hides its keys
RICH: dict[str, Any] = {
    "questions": {"task": "lab", "train": 8, "dev": 4, "test": 4},
    "teachers": [
        {"name": "scripted", "kind": "lab", "coverage": 0.5, "strength": {"counting": 0.5}},
        {"name": "judge", "kind": "openai", "model": "m", "base_url": "http://localhost:1/v1"},
        {"name": "ready", "kind": "replay", "file": "p.jsonl"},
        {"name": "local", "kind": "transformers", "model": "m"},
    ],
    "paths": {"styles": ["vanilla", {"name": "own", "instruction": "a", "hint": "b"}]},
    "filter": {
        "judges": ["judge", {"kind": "lab"}, {"kind": "arithmetic"}],
        "escalate_to": {"kind": "lab", "name": "last"},
    },
    "students": [
        {"name": "a", "model": "lab:mistral-tiny", "lora": {"rank": 4}},
        {"name": "b", "model": "lab:gemma-tiny"},
    ],
    "train": {"steps": 4},
    "own_paths": {"rounds": 1, "ask_teachers": True, "engine": {"kind": "openai", "base_url": "http://localhost:1/v1"}},
    "evaluate": {"fallback": True, "engine": "vllm"},
}
ASKED, JUDGED, EMBEDDED = ["generate", "generate@1"], ["filter", "filter@1", "score"], ["embed", "embed@1"]
TRAINED, SAMPLED = ["train@0", "train@1"], ["sample@1"]
NOTHING: list[str] = []
# the first pattern that fits says which stages a key runs again, the report aside, which shows every one that counts
TABLE = {
    "name": NOTHING,
    "shard_rows": NOTHING,
    "compute.*": NOTHING,
    "seed": ["load", *ASKED, *JUDGED, *EMBEDDED, *TRAINED, *SAMPLED, "evaluate"],
    "questions.*": ["load"],
    "teachers.[13].api_key_env": NOTHING,
    "teachers.1.timeout": NOTHING,
    "teachers.1.*_per_minute": NOTHING,
    "teachers.1.concurrency": NOTHING,
    "teachers.1.max_attempts": NOTHING,
    "teachers.1.base_urls": NOTHING,
    "teachers.1.batch*": NOTHING,
    "teachers.1.price.*": NOTHING,
    "teachers.3.batch_size": NOTHING,
    "teachers.3.device": NOTHING,
    "teachers.*.name": [*ASKED, *JUDGED],
    "teachers.*.kind": [*ASKED, *JUDGED],
    "teachers.1.*": [*ASKED, *JUDGED],
    "teachers.*": ASKED,
    "*.budget_usd": NOTHING,
    "*.budget_tokens": NOTHING,
    "paths.styles*": [*ASKED, *TRAINED, *SAMPLED, "evaluate", "untrained"],
    "paths.per_style": ASKED,
    "filter.*": JUDGED,
    "encoder.batch_size": NOTHING,
    "encoder.*": EMBEDDED,
    "router.kind": [*TRAINED, "evaluate", "untrained", "score"],
    "router.styles*": [*TRAINED, "evaluate", "untrained", "score"],
    "router.*": TRAINED,
    "mutual.*": TRAINED,
    "students.*.name": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "students.*.model": [*TRAINED, "untrained"],
    "students.*.frozen": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "students.*.quantize": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "students.*.dtype": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "students.*.max_context": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "students.*.trust_remote_code": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "students.*.learning_rate": TRAINED,
    "students.*.weight_decay": TRAINED,
    "students.*.betas": TRAINED,
    "students.*.optimizer": TRAINED,
    "students.*": [*TRAINED, *SAMPLED, "evaluate"],
    **dict.fromkeys(
        (
            "train.max_tokens_per_batch",
            "train.checkpoint_*",
            "train.keep_last",
            "train.keep_finished",
            "train.device",
            "train.gradient_checkpointing",
            "train.mesh.*",
            "train.track",
        ),
        NOTHING,
    ),
    "train.closing_line": [*TRAINED, *SAMPLED, "evaluate", "untrained"],
    "train.steps": [*TRAINED, "untrained"],
    "train.*": TRAINED,
    "own_paths.rounds": [*TRAINED, "gather"],
    "own_paths.warm_share": TRAINED,
    "own_paths.ask": [*SAMPLED, "train@1"],
    "own_paths.ask_teachers": ["filter@1", *SAMPLED, "train@1", "gather"],
    "own_paths.peers": ["train@1"],
    "own_paths.restart": TRAINED,
    "own_paths.gold": ["filter@1"],
    "own_paths.min_agreement": ["filter@1"],
    "own_paths.engine.model": SAMPLED,
    "own_paths.engine.extra_body": SAMPLED,
    "own_paths.engine.kind": SAMPLED,
    "own_paths.engine.*": NOTHING,
    "own_paths.*": SAMPLED,
    "evaluate.batch_size": NOTHING,
    "evaluate.max_tokens": [*SAMPLED, "evaluate", "untrained"],  # the style to sample in is chosen under the same limit
    "evaluate.stop": [*SAMPLED, "evaluate", "untrained"],
    "evaluate.fallback": ["score"],
    "evaluate.vote*": ["evaluate", "score"],
    "evaluate.split": ["evaluate", "untrained", "score"],
    "evaluate.base": ["untrained"],
    "evaluate.styles*": ["evaluate", "untrained"],
    "evaluate.engine.kind": ["evaluate", "untrained"],
    "evaluate.engine.*": NOTHING,
    "evaluate.*": ["evaluate"],
}
UNSHOWN = {pattern for pattern, wanted in TABLE.items() if wanted is NOTHING} - {"name"}


def leaves(value: Any, data: Any, place: str = "") -> Iterator[tuple[str, type[Settings], str]]:
    """Every dotted key of a config that stands for a plain value, and the class and field it belongs to."""
    for key in type(value).model_fields:
        child = getattr(value, key)
        items = child if isinstance(child, list) else []
        if isinstance(child, Settings):
            yield from leaves(child, data, f"{place}{key}.")
        elif any(isinstance(item, Settings) for item in items):
            if not isinstance(value, Config):
                yield f"{place}{key}", type(value), key
            for index, item in enumerate(items):
                if isinstance(item, Settings):
                    yield from leaves(item, data, f"{place}{key}.{index}.")
        else:
            yield f"{place}{key}", type(value), key


def other_values(value: Any) -> list[Any]:
    """Candidates for another valid value; the schema decides which is one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value / 2, value - 1]
    if isinstance(value, str):
        return [f"{value}2", f"{value}.jsonl"]
    if isinstance(value, list):
        return [
            value[::-1],
            [*value, "tensorboard"],
            [*value, "routed_imitation"],
            [*value, "x"],
            value[:-1],
            [0.5, 0.25],
        ]
    if isinstance(value, dict):
        return [{**value, "x": 0.5}, {**value, "x": "y"}]
    return [1, 0.5, "x", ["vanilla"], ["x"], {"rank": 2}, True]


def literals(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for inner in typing.get_args(annotation) for value in literals(inner)]


def named(value: Any) -> list[str]:
    """The registered names beside this one, where it is one."""
    groups = [registry.bundled(group) for group in registry.GROUPS]
    return [name for names in groups if isinstance(value, str) and value in names for name in names]


def changed(data: dict[str, Any], key: str, owner: type[Settings], field: str) -> Config | None:
    """The config with another valid value in this key; None where there is no other one."""
    *parents, last = key.split(".")
    for value in [*literals(owner.model_fields[field].annotation), *named(at(data, key)), *other_values(at(data, key))]:
        if value == at(data, key):
            continue
        other = copy.deepcopy(data)
        at(other, ".".join(parents))[last] = value
        try:
            return Config.model_validate(other)
        except (ValidationError, ValueError):
            continue
    return None


def at(data: Any, key: str) -> Any:
    for part in filter(None, key.split(".")):
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data


BASE = Config.model_validate(RICH)
WAS = {stage.name: settings_of(BASE, stage.reads) for stage in stages(BASE)}
DATA = BASE.model_dump(mode="json")
KEYS = list(leaves(BASE, DATA))


def declaring(other: Config) -> set[str]:
    """The stages whose own settings differ from the base's."""
    now = {stage.name: settings_of(other, stage.reads) for stage in stages(other)}
    return {name for name, settings in WAS.items() if name in now and now[name] != settings}


@pytest.mark.parametrize("section", Config.model_fields)
def test_a_changed_key_runs_exactly_the_stages_that_declare_it(section):
    for key, owner, field in KEYS:
        if key.partition(".")[0] != section:
            continue
        pattern = next(pattern for pattern in TABLE if fnmatchcase(key, pattern))
        other = changed(DATA, key, owner, field)
        if other is None:
            only = literals(owner.model_fields[field].annotation) == [at(DATA, key)]
            others_keys = field == "kind" and len(named(at(DATA, key))) > 1  # no other kind takes this one's keys
            assert only or others_keys, f"{key}: no other valid value was found"
            continue
        shown = set() if pattern in UNSHOWN else {"report"}
        assert declaring(other) == {*TABLE[pattern], *shown}, key


def test_every_key_of_the_schema_is_tried():
    tried = {(kind, field) for _, owner, field in KEYS for kind in owner.__mro__}
    seen: set[type[Settings]] = set()

    def walk(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, Settings) and kind not in seen:
            seen.add(kind)
            for info in kind.model_fields.values():
                walk(info.annotation)
        for inner in typing.get_args(kind):
            walk(inner)
        if isinstance(kind, Kinds):
            for name in registry.bundled(kind.group):
                walk(kind.settings_of(name))

    walk(Config)
    sections = {(kind, name) for kind in seen for name in kind.model_fields}
    untried = {f"{kind.__name__}.{name}" for kind, name in sections - tried}
    assert untried <= {f"Config.{name}" for name in Config.model_fields} | {
        "OpenAITeacher.price",
        "ReplayTeacher.columns",
        "FilterConfig.escalate_to",
        "OwnPathsConfig.engine",
        "EvaluateConfig.engine",
        "TrainConfig.mesh",
    }


def test_every_pattern_names_a_key():
    for stage in stages(BASE):
        for pattern in stage.reads:
            assert settings_of(BASE, [pattern]), f"{stage.name} reads {pattern}, which is no key"


def test_a_key_that_is_not_declared_cannot_be_read():
    seen = view(BASE, ["seed", "paths.styles", "students.*.name", "teachers.1"])
    assert (seen.seed, seen.paths.styles, seen.students[1].name) == (0, BASE.paths.styles, "b")
    assert seen.teachers[1] == BASE.teachers[1]
    assert seen.paths.budget_usd is None  # shapes nothing: any stage may look at it
    assert seen.train.device == "auto"
    for read in (
        lambda: seen.name,
        lambda: seen.paths.per_style,
        lambda: seen.students[0].model,
        lambda: seen.students[0].lora,
        lambda: seen.teachers[0].name,
        lambda: seen.questions,
        lambda: seen.own_paths.rounds,
        lambda: seen.train.steps,
    ):
        with pytest.raises(AttributeError, match="is read by a stage that does not declare it"):
            read()
