"""What can be known of a student before anything is bought for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qrdistill.base.errors import ModelError
from qrdistill.students.config import StudentConfig
from qrdistill.students.find_model import comes_with_the_package, find_model


def check_students(students: Sequence[StudentConfig], base_dir: Path) -> None:
    """Raises ModelError now where `load_student` would raise it after the paths have been paid for.

    Looks at folders only: a hub id is left to training, because asking for it downloads it.
    """
    own = [student for student in students if not comes_with_the_package(student.model)]
    if not own:
        return  # spare those that come with the package the import of torch
    from transformers import AutoTokenizer

    from qrdistill.students.quiet_transformers import quiet
    from qrdistill.students.tokens import Codec

    for student in own:
        source = Path(find_model(student.model, base_dir))
        if not source.is_dir():
            continue
        if not any((source / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"student {student.name}: folder {source} has no config.json; a Hugging Face model folder holds "
                "config.json, safetensors weights and a tokenizer"
            )
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(str(source), trust_remote_code=student.trust_remote_code)
        except Exception as error:  # dozens of types, all mean "does not load"
            cause = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ModelError(
                f"student {student.name}: the tokenizer of folder {source} does not load ({cause.strip(' :')}); "
                "save it there with tokenizer.save_pretrained"
            ) from error
        Codec(tokenizer, name=student.name)
