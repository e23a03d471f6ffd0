"""What a config's training takes, told before it: the one answer of `--dry-run`, of `doctor CONFIG` and of a run that
would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from qrdistill.base.device import free_disk, resolve_device
from qrdistill.base.errors import InputError
from qrdistill.base.records import Question
from qrdistill.cost.shape import read_shape
from qrdistill.llm.client import estimate_tokens
from qrdistill.llm.reply_cache import ReplyCache
from qrdistill.paths.estimate import PathsPlan, plan_paths
from qrdistill.runs.config import Config
from qrdistill.runs.context import Context
from qrdistill.runs.outlook.estimate import CostRow, cost_plan
from qrdistill.runs.outlook.lengths import Lengths, measure_lengths
from qrdistill.runs.outlook.needs import Needs, training_needs
from qrdistill.students.find_model import comes_with_the_package
from qrdistill.students.head import MAX_LOGITS
from qrdistill.students.out_of_memory import activation_bytes, fits, free_memory

_PATH_TOKENS = 200.0  # of a path, where no reply tells


@dataclass(frozen=True)
class Outlook:
    """steps: of training. path_tokens: of a path, as its teachers count them. costs: in the students' order."""

    steps: int
    path_tokens: float
    costs: list[CostRow]
    takes: Needs


def look_ahead(
    config: Config, questions: Sequence[Question], paths: PathsPlan, *, base_dir: Path, folder: Path, timed: bool = True
) -> Outlook:
    """By the texts that are at hand. timed: also how long it takes, for which this machine is measured once."""
    num_paths = sum(paths.ready.values()) + sum(teacher.calls + teacher.cached for teacher in paths.teachers)
    calls = sum(teacher.calls for teacher in paths.teachers)
    path_tokens = sum(teacher.output_tokens for teacher in paths.teachers) / calls if calls else _PATH_TOKENS
    asked = [estimate_tokens(question.question) for question in questions if question.split == "train"]
    guess = Lengths(
        fmean(asked) if asked else 0.0,
        path_tokens,
        basis="questions by pieces of words, paths as their teachers count them",
    )
    lengths = [measure_lengths(student, base_dir, paths.texts, guess) for student in config.students]
    train = config.train.with_steps(num_paths)
    costs = cost_plan(
        config.students,
        config.router,
        config.mutual,
        train,
        num_paths=num_paths,
        lengths=[length.whole for length in lengths],
    )
    takes = training_needs(
        config.students,
        train,
        costs,
        lengths,
        num_paths=num_paths,
        base_dir=base_dir,
        answers=(config.evaluate.batch_size, config.evaluate.limit),
        timed=timed,
    )
    if takes.stages:
        written = (config.own_paths.rounds + 1) * sum(takes.exports.values())
        takes = replace(takes, disk=written + train.keep_last * takes.checkpoint, disk_here=free_disk(folder))
    return Outlook(train.num_steps, path_tokens, costs, takes)


def check_room(context: Context) -> None:
    """Raises InputError where memory or disk cannot hold the training, with the settings that would."""
    config, base_dir, folder = context.config, context.base_dir, context.folder
    if config.train.steps == 0 or all(comes_with_the_package(student.model) for student in config.students):
        return  # what comes with the package is small
    if _plainly_fits(config, base_dir, folder):
        return
    questions = list(context.questions().values())
    with ReplyCache(context.replies) as cache:
        paths = plan_paths(questions, config.teachers, config.paths, cache=cache, base_dir=base_dir, seed=config.seed)
    takes = look_ahead(config, questions, paths, base_dir=base_dir, folder=folder, timed=False).takes
    if takes.problem:
        raise InputError(takes.problem)


def _plainly_fits(config: Config, base_dir: Path, folder: Path) -> bool:
    """Whether full batches of fully trained students would find room: spares a second of closer looking."""
    shapes = [shape for student in config.students if (shape := read_shape(student, base_dir))]
    if not shapes:
        return True  # of students whose files are not here nothing is known
    parameters = sum(shape.counts.parameters for shape in shapes)
    activations = sum(activation_bytes(shape.text_config, config.train.max_tokens_per_batch) for shape in shapes)
    copies = config.train.keep_last + config.own_paths.rounds + 1
    return fits(
        free_memory(resolve_device(config.train.device)),
        weights_that_train=2 * parameters,
        activations=activations + 16 * MAX_LOGITS,
    ) and 16 * parameters * copies < free_disk(folder)
