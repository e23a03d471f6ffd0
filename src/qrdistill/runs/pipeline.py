"""All stages of a run, in order: each is skipped, taken over from another run, or run.

    questions -> generate -> filter -> embed -> train -> evaluate -> report

A stage is a name, the config keys and files that it reads, the files it writes, and a function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qrdistill.base.errors import BoundaryError, ConfigError, InputError, QRDistillError
from qrdistill.base.ownership import claim, remove_files
from qrdistill.base.progress import Progress, Silent
from qrdistill.base.store import sweep, write_text
from qrdistill.compute.ray_workers import workers_of
from qrdistill.runs.apart.together import together
from qrdistill.runs.config import Config
from qrdistill.runs.context import Context
from qrdistill.runs.declared_keys import settings_of, view
from qrdistill.runs.load_config import dump_config, load_config, placed
from qrdistill.runs.manifest import Manifest, locked, only_one
from qrdistill.runs.run import Run, write_run_card
from qrdistill.runs.stages import GROUPS, Stage, stages
from qrdistill.students.find_model import find_model


def run(
    config: Path | str | Mapping[str, Any] | Config,
    run_dir: Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    until: str = "report",
    share: Path | None = None,
    retry_failed: bool = False,
    progress: Progress | None = None,
    part: Part | None = None,
) -> Run:
    """Runs every stage that is not done yet, up to `until`; the same call resumes after any stop.

    `share` is a folder of run directories that compute what they have in common once.
    `retry_failed` asks once more for paths and verdicts whose requests failed. part: only what this process does of a
    run that several share. Of several processes (`torchrun`) the first does so, the others train with it. Raises
    ConfigError and other InputErrors for what the user must mend, QRDistillError for what a second call can mend.
    """
    resolved = load_config(config, overrides)
    folder = Path(run_dir) if run_dir is not None else Path("runs") / resolved.name
    voice = progress or Silent()
    base = Path(config).resolve().parent if isinstance(config, str | Path) else Path.cwd()
    try:
        others = together(resolved)
    except ConfigError as error:
        raise placed(error, config, overrides) from error
    if others and not others.leads:
        joins = {stage.name: stage for stage in plan(resolved, until)}
        context = Context(resolved, folder, Silent(), base)
        others.follow(lambda name: _compute(joins[name], context))
        return Run(folder)
    claim(folder)
    try:
        with others or nullcontext(), workers_of(resolved.compute) as workers:
            here = part or (Part() if workers is None else Part(lambda stage: not stage.resumes))
            context = Context(resolved, folder, voice, base, workers=workers, cache=here.replies, others=others)
            while (left := _go_on(context, until, share, retry_failed, here)) and workers and not part:
                from qrdistill.runs.apart.parts import train_apart

                train_apart(context, left, workers)
                retry_failed = False
    except ConfigError as error:
        raise placed(error, config, overrides) from error
    return Run(folder)


@dataclass(frozen=True)
class Part:
    """What one process does of a run: the stages that are `its`, up to the first due one that is not.

    replies: its reply cache, where that is not the run's own; patience: seconds to wait for a process that was killed
    elsewhere to let go of the run.
    """

    its: Callable[[Stage], bool] = lambda stage: True
    replies: Path | None = None
    patience: float = 5.0


def _go_on(context: Context, until: str, share: Path | None, retry_failed: bool, part: Part) -> Stage | None:
    """Runs stages; returns the due one that it stopped before."""
    folder, voice = context.folder, context.progress
    with locked(folder, part.patience):
        manifest = Manifest(folder, writing=True)
        sweep(folder)
        write_text(folder / "config.yaml", dump_config(context.config))
        chosen = plan(context.config, until)
        context = replace(context, trains=any(stage.group == "train" for stage in chosen))
        failed = {"generate": "failures", "filter": "errors"}
        for name, record in list(manifest.stages.items()):
            count = record.get("counts", {}).get(failed.get(name.partition("@")[0], ""), 0)
            if count and retry_failed:
                manifest.fail(name, "", "its failed requests are asked again")
            elif count:
                voice.warn(f"{name}: {count} requests failed before; --retry-failed asks them again")
        for index, stage in enumerate(chosen):
            if not part.its(stage) and not _is_done(stage, context):
                return stage
            execute(stage, context, share)
            if context.others and not any(later.resumes for later in chosen[index + 1 :]):
                context.others.end()  # nothing is left to train: they need not wait for what the first does alone
        write_run_card(folder)
    return None


def _is_done(stage: Stage, context: Context) -> bool:
    manifest = Manifest(context.folder)
    return manifest.is_done(stage.name, stage_key(stage, context.config, manifest))


def report_run(folder: Path, *, progress: Progress | None = None) -> Path:
    """Writes the page of a run directory from the tables that it has, and no other stage; returns where it is.

    Raises InputError where `folder` is no run directory.
    """
    if not (folder / "manifest.json").is_file() or not (folder / "config.yaml").is_file():
        raise InputError(
            f"{folder} is no run directory (no manifest.json and config.yaml in it); runs live in runs/<name>"
        )
    config = load_config(folder / "config.yaml")
    stage = stages(config)[-1]
    with locked(folder):
        manifest = Manifest(folder)
        if all((folder / name).exists() for name in stage.inputs) and manifest.writable:
            key = stage_key(stage, config, manifest)
            _run_stage(stage, Context(config, folder, progress or Silent()), manifest, key)
        else:
            stage.run(Context(config, folder, progress or Silent()))  # of what is there; nothing is recorded as done
    return folder / "report.html"


def plan(config: Config, until: str = "report") -> list[Stage]:
    """The stages of a config, in order, up to the last one of the group `until`."""
    if until not in GROUPS:
        raise InputError(f"no stage {until!r}; there are: {', '.join(GROUPS)}")
    wanted = GROUPS[: GROUPS.index(until) + 1]
    return [stage for stage in stages(config) if stage.group in wanted]


def due(config: Config, folder: Path, until: str = "report") -> list[str]:
    """The stages whose own key differs from what a run directory was made with, or whose outputs are not there.

    What they write may then call for those after them: that only running them tells.
    """
    manifest = Manifest(folder, writing=True)
    return [
        stage.name
        for stage in plan(config, until)
        if not manifest.is_done(stage.name, stage_key(stage, config, manifest))
    ]


def stage_key(stage: Stage, config: Config, manifest: Manifest) -> str:
    """What the stage's outputs depend on, as a hash: the keys that it declares and its input files."""
    return manifest.key(stage.name, _with_folders(settings_of(config, stage.reads)), stage.inputs)


def _with_folders(settings: dict[str, Any]) -> dict[str, Any]:
    """Students of a scheme by their folder, which the manifest hashes by content: it may be made anew."""
    for key, value in settings.items():
        if key.startswith("students.") and key.endswith(".model") and ":" in value:
            try:
                settings[key] = find_model(value, Path())
            except InputError as error:
                raise ConfigError(str(error), key=key) from error
    return settings


def execute(stage: Stage, context: Context, share: Path | None = None) -> bool:
    """Runs one stage unless it is done, here or in a run beside it; returns whether it ran."""
    manifest = Manifest(context.folder)
    key = stage_key(stage, context.config, manifest)
    if manifest.is_done(stage.name, key):
        context.progress.log(f"{stage.name}: done before")
        return False
    for path in manifest.spoilt(stage.name, key):
        context.progress.warn(
            f"{path} is damaged or was changed (its checksum differs): {stage.name} runs again and writes it anew"
        )
    if share is None:
        _run_stage(stage, context, manifest, key)
        return True
    with only_one(share / ".locks" / f"{stage.name}-{key}"):
        if manifest.take_over(stage.name, key, sorted(path.parent for path in share.glob("*/manifest.json"))):
            context.progress.log(f"{stage.name}: the same as in another run, taken over")
            return False
        _run_stage(stage, context, manifest, key)
    return True


def _run_stage(stage: Stage, context: Context, manifest: Manifest, key: str) -> None:
    _forget_other_work(context.folder, stage, key)
    warnings: list[str] = []
    begun = time.monotonic()
    try:
        heard = replace(context, progress=_Listening(context.progress, warnings))
        if stage.check is not None:
            stage.check(heard)
        if stage.resumes and context.others:
            context.others.call(stage.name)
        counts = _compute(stage, heard)
    except QRDistillError as error:
        with suppress(BoundaryError):  # a full disk refuses this too; the first refusal is the one to tell
            manifest.fail(stage.name, key, str(error))
        raise
    manifest.finish(stage.name, key, stage.outputs, counts=counts, seconds=time.monotonic() - begun, warnings=warnings)
    if stage.resumes and not context.config.train.keep_finished:
        _clear(context.folder / stage.place)  # only now: a kill before this point goes on from them


def _compute(stage: Stage, context: Context) -> Mapping[str, Any]:
    own = view(context.config, stage.reads)
    return stage.run(replace(context, config=own, round=stage.round, place=stage.place))


def _forget_other_work(folder: Path, stage: Stage, key: str) -> None:
    """Resumable state belongs to one key: a checkpoint of another config must not be gone on from."""
    if not stage.resumes:
        return
    place = folder / stage.place
    mark = place / "checkpoints" / "key"
    if not mark.exists() or mark.read_text() != key:
        _clear(place)
        (place / "metrics.jsonl").unlink(missing_ok=True)
        write_text(mark, key)


def _clear(place: Path) -> None:
    """Removes the checkpoints of a training."""
    for checkpoint in (*place.glob("checkpoints/step-*"), place / "checkpoints" / "best"):
        remove_files(checkpoint / "parts", ("shard-*.safetensors", "index.json"))
        remove_files(checkpoint, ("state.json", "state.safetensors", "weights.safetensors"))


class _Listening:
    """A progress that also keeps the warnings, for the manifest."""

    def __init__(self, inner: Progress, warnings: list[str]) -> None:
        self._inner, self._warnings = inner, warnings
        self.start, self.advance, self.done, self.log = inner.start, inner.advance, inner.done, inner.log

    def warn(self, message: str) -> None:
        self._warnings.append(message)
        self._inner.warn(message)
