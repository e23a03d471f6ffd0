from __future__ import annotations

from typing import Literal

from pydantic import Field

from qrdistill.base.presets import embedded_default
from qrdistill.base.settings import Settings


class QuestionsConfig(Settings):
    """Which questions are asked. `task` is a registered name, or `module:function`."""

    task: str = embedded_default().task
    # questions per split; None: all there are, or the task's own size
    train: int | None = Field(default=None, ge=0)
    dev: int | None = Field(default=None, ge=0)
    test: int | None = Field(default=None, ge=0)
    # tasks over the user's own data (`jsonl`, `hub`); paths are relative to the config file
    file: str | None = None  # one file whose lines may carry a `split`, or:
    train_file: str | None = None
    dev_file: str | None = None
    test_file: str | None = None
    hub: str | None = None  # a dataset's hub id
    subset: str | None = None
    kind: str | None = (
        None  # how answers are compared: number | math | choice | yes_no | nli | text | date | module:function
    )
    fields: dict[str, str] = {}  # our field -> theirs, where names differ
    options: dict[str, object] = {}  # passed to the task (reasoning_gym: the data set's own configuration)
    # how the gold answer of a `choice` names its option: by its place from 0 (MMLU), by label, or by text; unset: by
    # label or text, and a number that could be a place as well is refused
    gold: Literal["index", "label", "text"] | None = None
    require_gold: bool = True
