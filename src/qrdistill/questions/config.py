from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.plugins.presets import embedded_default
from qrdistill.base.settings import Settings


class QuestionsConfig(Settings):
    """Which questions are asked. `task` is a registered name, or `module:function`."""

    task: str = embedded_default().task
    """A registered task, `reasoning_gym:<dataset>`, `jsonl` or `hub` for your own data, or `module:function`."""
    # questions per split; None: all there are, or the task's own size
    train: int | None = Field(default=None, ge=0)
    """Questions to train on; null: all there are, or the task's own number."""
    dev: int | None = Field(default=None, ge=0)
    """Questions that choose styles and stop training; null: all, or a share carved out of train where there are
    none."""
    test: int | None = Field(default=None, ge=0)
    """Questions that the scores are measured on; null: all, or a share of a file without its own."""
    # tasks over the user's own data (`jsonl`, `hub`); paths are relative to the config file
    file: str | None = None
    """One file of questions (.jsonl, .json, .csv, .parquet) whose lines may carry a `split`; relative to the config,
    or an address such as `s3://bucket/q.jsonl`. A folder of .parquet shards is one file."""
    train_file: str | None = None
    """A file for training instead of `file`."""
    dev_file: str | None = None
    """A file for dev, beside `train_file`."""
    test_file: str | None = None
    """A file for test, beside `train_file`."""
    hub: str | None = None
    """A data set's hub id, for task `hub`."""
    subset: str | None = None
    """The hub data set's configuration; null: its default."""
    kind: str | None = (
        None  # how answers are compared: number | math | choice | yes_no | nli | text | date | module:function
    )
    """How answers compare: number, math, choice, yes_no, nli, text, date or module:function; null: the task's."""
    fields: dict[str, str] = {}
    """Our field -> the name it has in the data, where names differ."""
    options: dict[str, object] = {}
    """Passed to the task, such as a reasoning_gym data set's own configuration."""
    gold: Literal["index", "label", "text"] | None = None
    """How the gold answer of a `choice` names its option: by its place from 0 (MMLU), by label, or by text; null: by
    label or text, and a number that could be a place as well is refused."""
    require_gold: bool = True
    """Refuse questions without a gold answer; false: their paths are judged, never compared."""
