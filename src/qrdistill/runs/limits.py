"""What the config leaves open and the kept paths decide: how long an answer may be, how many steps a round takes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from qrdistill.base.draws import uniform
from qrdistill.runs.context import Context
from qrdistill.students.config import StudentConfig
from qrdistill.training.config import TrainConfig

_MEASURED = 2000  # paths, by lot: more do not move the 99th percentile
_SHARE, _ROOM, _STEP = 0.99, 1.25, 8


def whole_training(context: Context) -> TrainConfig:
    """All rounds' steps."""
    return context.config.train.with_steps(sum(batch.num_rows for batch in context.taught_columns(0, ("id",))))


def train_config(context: Context, whole: TrainConfig) -> TrainConfig:
    """The round's own number of steps, and its share of the warm-up."""
    from qrdistill.own_paths.sample import steps_of_round

    config = context.config
    steps = steps_of_round(whole, config.own_paths, context.round)
    own = whole.model_copy(update={"steps": steps, "warmup": whole.warmup * steps // max(1, whole.num_steps)})
    if "warmup" not in whole.model_fields_set:
        own.model_fields_set.discard("warmup")  # still a default: nobody asked for it
    return own


def answer_limit(context: Context, students: Sequence[StudentConfig]) -> int:
    """`evaluate.max_tokens`, or what the kept paths say."""
    return context.config.evaluate.max_tokens or path_limit(context, students)


def path_limit(context: Context, students: Sequence[StudentConfig]) -> int:
    """Tokens of what 99 % of the teachers' kept paths take in the tokenizer that needs most, and a quarter more."""
    from transformers import AutoTokenizer

    from qrdistill.students.find_model import find_model
    from qrdistill.students.quiet_transformers import quiet

    texts = _sample(context)
    longest = 0
    for student in students:
        source = find_model(student.model, context.base_dir)
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=student.trust_remote_code)
        counted = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        longest = max(longest, limit_of([len(ids) + 1 for ids in counted]))  # and one token to end with
    return longest


def limit_of(lengths: Sequence[int]) -> int:
    """
    >>> limit_of([10] * 98 + [40, 400])  # one in a hundred may be longer
    56
    """
    at = max(0, math.ceil(_SHARE * len(lengths)) - 1)
    return _STEP * math.ceil(_ROOM * sorted(lengths)[at] / _STEP)


def _sample(context: Context) -> list[str]:
    rows = (
        row
        for batch in context.taught_columns(0, ("id", "text"))
        for row in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
    )
    lots = ((uniform(0, "limit", name), index, text) for index, (name, text) in enumerate(rows))
    return [text for _, _, text in heapq.nsmallest(_MEASURED, lots)]
