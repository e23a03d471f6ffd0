from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from qrdistill.base.settings import Settings


class QuestionsConfig(Settings):
    """Which questions are asked. `task` names an entry of `questions.TASKS`."""

    task: str = "lab"
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
    options: dict[str, object] = {}  # passed to the task (lab: scenario; reasoning_gym: its config)
    require_gold: bool = True

    @model_validator(mode="before")
    @classmethod
    def _all_there_are(cls, values: Any) -> Any:
        """The sizes above are the lab's (and reasoning_gym's, which have no end); files and data sets
        are used whole unless sizes are given, their dev and test splits carved where they have none."""
        if isinstance(values, dict):
            task = values.get("task", "lab")
            if isinstance(task, str) and task != "lab" and not task.startswith("reasoning_gym:"):
                return {"train": None, "dev": None, "test": None, **values}
        return values
