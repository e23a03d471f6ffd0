"""`qrdistill plan CONFIG --gpus N --gpu KIND`: memory, operations, wire, hours and dollars on GPUs that are not here."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.cost.cluster import Device, Layout, Settings, device_memory, fits_in, layouts, operations, wire_bytes
from qrdistill.cost.gpus import Gpu, known_gpu
from qrdistill.cost.memory import checkpoint_bytes, export_bytes
from qrdistill.cost.shape import Shape, read_shape, with_form
from qrdistill.llm.config import OpenAITeacher
from qrdistill.paths.styles import resolve_styles
from qrdistill.runs.config import Config
from qrdistill.runs.load_config import load_config
from qrdistill.runs.outlook.estimate import CostRow, cost_plan
from qrdistill.runs.outlook.needs import NOT_ON_GPUS, duration, size
from qrdistill.students.config import LoraSettings


@dataclass(frozen=True)
class Assumed:
    """What a config does not say: paths in the pool (None: all that its teachers are asked for), mean tokens, the share
    of a GPU's peak that training reaches, dollars an hour (None: not known)."""

    paths: int | None = None
    prompt_tokens: int = 120
    path_tokens: int = 300
    mfu: float = 0.35
    price: float | None = None


@dataclass(frozen=True)
class Teacher:
    name: str
    calls: int
    tokens_in: int
    tokens_out: int
    usd: float | None  # None: no price is given


@dataclass(frozen=True)
class ClusterPlan:
    """The plan of one training; bytes, operations and seconds of the whole, `wire` of one device and step."""

    name: str
    gpus: int
    gpu: Gpu
    layout: str
    settings: list[str]
    device: Device
    parameters: dict[str, int]
    trained: dict[str, int]
    steps: int
    tokens: int
    flops: float
    wire: int
    hours: float
    dollars: float | None
    checkpoint: int
    exports: int
    assumed: Assumed
    teachers: list[Teacher] = field(default_factory=list[Teacher])
    fits: bool = True
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        facts = json.loads(json.dumps(dataclasses.asdict(self)))
        return {**facts, "device_total": self.device.total, "measured_on_gpus": False}

    def text(self) -> str:
        used, assumed = self.device, self.assumed
        students = ", ".join(
            f"{name} {count / 1e9:.2f} B ({self.trained[name] / 1e6:,.1f} M trained)"
            for name, count in self.parameters.items()
        )
        money = "price of an hour not known (--price)" if self.dollars is None else f"${self.dollars:,.0f}"
        lines = [
            f"plan           {self.name} on {self.gpus} x {self.gpu.name} ({self.gpu.sheet})",
            f"students       {students}",
            f"layout         (students, data) = {self.layout}",
            f"device         {size(used.total)} of {size(self.gpu.memory)}: parameters {size(used.parameters)}, gradients "
            f"{size(used.gradients)}, optimizer {size(used.optimizer)}, gathered {size(used.gathered)}, activations "
            f"{size(used.activations)}, logits {size(used.logits)}",
            f"training       {self.steps:,} steps, {self.tokens:,} tokens, {self.flops:.2e} operations",
            f"wire           {size(self.wire)} a step and device",
            f"time           {duration(3600 * self.hours)} at {assumed.mfu:.0%} of {self.gpu.flops / 1e12:,.0f} TFLOP/s",
            f"cost           {money}",
            f"disk           {size(self.checkpoint)} a checkpoint, {size(self.exports)} exported",
        ]
        for each in self.teachers:
            usd = "price not known" if each.usd is None else f"at most ${each.usd:,.2f}"
            lines.append(
                f"teacher        {each.name}: {each.calls:,} calls, {each.tokens_in:,} tokens in, at most "
                f"{each.tokens_out:,} out, {usd}"
            )
        lines += [f"setting        {setting}" for setting in self.settings]
        if self.problem:
            lines.append(f"does not fit   {self.problem}")
        lines.append(
            f"assumed        {assumed.prompt_tokens} tokens a prompt, {assumed.path_tokens} a path (--prompt-tokens, "
            "--path-tokens); nothing of it was run"
        )
        lines.append(f"not measured   {NOT_ON_GPUS}")
        return "\n".join(lines)


def plan_cluster(
    config: Path,
    *,
    gpus: int,
    gpu: str,
    assumed: Assumed,
    overrides: Sequence[str] = (),
    model_configs: Sequence[str] = (),
) -> ClusterPlan:
    """Works without weights: shapes come from each student's config.json, or from `model_configs` (FILE for all, or
    STUDENT=FILE). Raises InputError where a shape or the GPU is not known."""
    resolved, kind = load_config(config, overrides), known_gpu(gpu)
    shapes = _shapes(resolved, config.resolve().parent, model_configs)
    calls = _calls(resolved)
    num_paths = assumed.paths or sum(calls.values())
    if not num_paths:
        raise InputError("the config does not say how many paths there will be; give --paths N")
    train = resolved.train.with_steps(num_paths)
    length = assumed.prompt_tokens + assumed.path_tokens
    rows = cost_plan(
        resolved.students,
        resolved.router,
        resolved.mutual,
        train,
        num_paths=num_paths,
        lengths=[length] * len(shapes),
    )
    steps = max(1, train.num_steps)
    first = Settings(
        tokens=train.max_tokens_per_batch,
        share=[(row.trained + row.measured) / steps for row in rows],
        labels=assumed.path_tokens / length,
        length=length,
        paths=train.paths_per_step,
        checkpointing=train.gradient_checkpointing is True,
        compared=resolved.mutual.weight > 0 and len(shapes) > 1,
    )
    found = _choose(shapes, first, gpus, kind)
    trained = sum(
        operations(shape, found.settings, 1000) / 1000 * row.trained for shape, row in zip(shapes, rows, strict=True)
    )
    measured = sum(2 * shape.counts.parameters * row.measured for shape, row in zip(shapes, rows, strict=True))
    wire = sum(
        wire_bytes(shape, found.layout, found.settings, row.trained / steps, len(shapes))
        for shape, row, column in zip(shapes, rows, found.layout.column, strict=True)
        if column == 0
    )
    hours = _hours(shapes, found, rows, kind, assumed.mfu)
    return ClusterPlan(
        name=resolved.name,
        gpus=gpus,
        gpu=kind,
        layout=str(found.layout),
        settings=found.said,
        device=found.device,
        parameters={shape.student.name: shape.counts.parameters for shape in shapes},
        trained={shape.student.name: shape.counts.trained for shape in shapes},
        steps=train.num_steps,
        tokens=sum(row.trained + row.measured for row in rows),
        flops=float(trained + measured),
        wire=wire,
        hours=hours,
        dollars=None if assumed.price is None else assumed.price * gpus * hours,
        checkpoint=checkpoint_bytes(shapes),
        exports=sum(map(export_bytes, shapes)),
        assumed=assumed,
        teachers=_teachers(resolved, calls, assumed),
        fits=not found.problem,
        problem=found.problem,
    )


@dataclass(frozen=True)
class _Found:
    layout: Layout
    settings: Settings
    device: Device
    said: list[str]
    problem: str = ""


def _choose(shapes: Sequence[Shape], first: Settings, gpus: int, kind: Gpu) -> _Found:
    """The first layout that fits as the config is, most columns first, for columns exchange least; else the least change."""
    options = layouts(gpus, len(shapes))
    found = _fitting(shapes, options, first, kind)
    if found is not None:
        return found
    layout = min(options, key=lambda each: device_memory(shapes, each, first).total)
    device = device_memory(shapes, layout, first)
    needs = f"{size(device.total)} of {size(kind.memory)} on the fullest device"
    settings, said = first, list[str]()
    trials = [("train.gradient_checkpointing: true", replace(first, checkpointing=True))]
    tokens = first.tokens
    while tokens > 1024:
        tokens //= 2
        trials.append((f"train.max_tokens_per_batch: {tokens}", replace(trials[0][1], tokens=tokens)))
    trials.append(("train.mesh.cpu_offload: true", replace(trials[-1][1], offload=True)))
    for words, settings in trials:
        fits = _fitting(shapes, options, settings, kind)
        said = [*[one for one in said if one.partition(":")[0] != words.partition(":")[0]], words]
        if fits is not None:
            return _Found(layout, first, device, fits.said, f"{needs}; it fits with {' and '.join(said)}")
    for words, form in (("lora: {}", {}), ("lora: {} and quantize: nf4", {"quantize": "nf4"})):
        smaller = [with_form(each, lora=each.student.lora or LoraSettings(), **form) for each in shapes]
        if _fitting(smaller, options, trials[0][1], kind) is not None:
            return _Found(layout, first, device, [], f"{needs}; it fits with {words} for every student")
    return _Found(layout, first, device, [], f"{needs}; no setting fits: more GPUs, larger ones, or smaller students")


def _fitting(shapes: Sequence[Shape], options: Sequence[Layout], settings: Settings, kind: Gpu) -> _Found | None:
    for layout in options:
        device = device_memory(shapes, layout, settings)
        if fits_in(device, kind.memory):
            said = [f"train.mesh: {{students: {layout.students}, data: {layout.data}}}"]
            return _Found(layout, settings, device, said if layout.students * layout.data > 1 else [])
    return None


def _hours(shapes: Sequence[Shape], found: _Found, rows: Sequence[CostRow], kind: Gpu, mfu: float) -> float:
    """Of the column with most to do; its processes share it evenly."""
    per_column = [0.0] * found.layout.students
    for shape, row, column in zip(shapes, rows, found.layout.column, strict=True):
        per_column[column] += operations(shape, found.settings, 1000) / 1000 * row.trained
        per_column[column] += 2 * shape.counts.parameters * row.measured
    return max(per_column) / (found.layout.data * kind.flops * mfu) / 3600


def _shapes(config: Config, base: Path, model_configs: Sequence[str]) -> list[Shape]:
    named = dict(each.split("=", 1) for each in model_configs if "=" in each)
    every = [each for each in model_configs if "=" not in each]
    unknown = sorted(set(named) - {student.name for student in config.students})
    if unknown or len(every) > 1:
        what = f"{unknown[0]!r} is no student" if unknown else "two files for all students"
        raise InputError(f"--model-config: {what}; give FILE for all of them, or STUDENT=FILE for each")
    shapes: list[Shape] = []
    for student in config.students:
        file = named.get(student.name, every[0] if every else None)
        if file is not None and not Path(file).is_file():
            raise InputError(f"--model-config: there is no file {file}")
        shape = read_shape(student, base, settings=Path(file) if file else None)
        if shape is None:
            raise InputError(
                f"student {student.name}: the shape of {student.model} is not here; give its config.json: "
                f"--model-config {student.name}=FILE"
            )
        shapes.append(shape)
    return shapes


def _calls(config: Config) -> dict[str, int]:
    """What each teacher is asked for, by the config alone."""
    styles, questions = resolve_styles(config.paths.styles), config.questions.train or 0
    return {
        teacher.name: questions
        * config.paths.per_style
        * sum(teacher.styles is None or name in teacher.styles for name in styles)
        for teacher in config.teachers
    }


def _teachers(config: Config, calls: dict[str, int], assumed: Assumed) -> list[Teacher]:
    plans: list[Teacher] = []
    for teacher in config.teachers:
        if not isinstance(teacher, OpenAITeacher):
            continue
        number = calls[teacher.name]
        given, written, price = number * assumed.prompt_tokens, number * teacher.max_tokens, teacher.price_paid
        usd = (given * price.input + written * price.output) / 1e6 if price.input or price.output else None
        plans.append(Teacher(teacher.name, number, given, written, usd))
    return plans
