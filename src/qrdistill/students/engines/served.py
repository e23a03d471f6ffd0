"""How new weights reach a server: a folder that it loads by its path, an adapter, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from qrdistill.base.errors import BoundaryError, InputError
from qrdistill.llm.client import Refused
from qrdistill.students.engines.config import ServerEngine
from qrdistill.students.engines.engine import Surroundings
from qrdistill.students.engines.http_client import Server
from qrdistill.students.find_model import find_model


@contextmanager
def served(config: ServerEngine, around: Surroundings, server: Server) -> Generator[str, None, None]:
    """The model's name at the server while the student is there. A name is never used twice: servers cache by it."""
    settings = around.settings
    once = f"{settings.name}-{uuid.uuid4().hex[:12]}"
    if config.reload == "none":
        yield (config.model or "{student}").replace("{student}", settings.name)
    elif config.reload == "path":
        with _home(config, around.base_dir) as home:
            folder = home / once
            try:
                write_folder(around, folder)
                yield str(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    else:
        source = find_model(settings.model, around.base_dir)
        if Path(source, "adapter_config.json").is_file():
            with _adapter(server, once, source):
                yield once
        elif config.model:
            yield config.model  # the base itself: the untrained student
        else:
            raise InputError(
                f"student {settings.name}: engine.reload is lora, and {source} holds no adapter; give the student "
                "`lora`, set engine.model to the base's name at the server, or use reload: path"
            )


@contextmanager
def _home(config: ServerEngine, base_dir: Path) -> Generator[Path, None, None]:
    if config.export_to is not None:
        home = base_dir / config.export_to
        home.mkdir(parents=True, exist_ok=True)
        yield home.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="qrdistill-served-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # the server may be another user's
        yield Path(folder)


def write_folder(around: Surroundings, folder: Path) -> None:
    """The student with merged weights, as a server loads it: one that samples where a request asks for it.

    transformers takes `temperature` of a request only where the folder's own settings say `do_sample`, and its
    top_k is 50 unless they say otherwise.
    """
    from transformers import GenerationConfig

    from qrdistill.students.export import export_student

    source = Path(find_model(around.settings.model, around.base_dir))
    whole = all((source / name).is_file() for name in ("config.json", "chat_template.jinja", "tokenizer.json"))
    if whole and not (source / "adapter_config.json").exists():
        shutil.copytree(source, folder, copy_function=_link)
    else:
        export_student(around.student(), folder, merge=True)
    settings = GenerationConfig.from_pretrained(folder)
    settings.update(do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    (folder / "generation_config.json").unlink(missing_ok=True)  # it may be a link to the run's own
    settings.save_pretrained(folder)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _adapter(server: Server, name: str, folder: str) -> Generator[None, None, None]:
    """vLLM has the two calls below /v1 (with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True), SGLang at its root."""
    path = "load_lora_adapter"
    try:
        try:
            server.post(path, {"lora_name": name, "lora_path": folder})
        except Refused as error:
            if error.status != 404:
                raise
            path = f"/{path}"
            server.post(path, {"lora_name": name, "lora_path": folder})
    except Refused as error:
        raise BoundaryError(
            f"the server does not load the adapter in {folder} ({error.reason}); start vLLM with --enable-lora, "
            "--max-lora-rank of at least the student's and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, where it sees that folder"
        ) from None
    try:
        yield
    finally:
        with suppress(Refused, BoundaryError):
            server.post(path.replace("load", "unload"), {"lora_name": name})
