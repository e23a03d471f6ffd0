"""A trained student tried out: asked in the terminal, or handed to a server that is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qrdistill.base.errors import InputError
from qrdistill.base.records import FREE
from qrdistill.paths.styles import resolve_styles, student_prompt
from qrdistill.runs.run import Run

ENGINES = {
    "vllm": "pip install 'qrdistill[vllm]' (it needs a GPU)",
    "transformers": "pip install 'transformers[serving]'",
    "llama.cpp": "put llama-server on the PATH, or pip install 'llama-cpp-python[server]'; and pip install "
    "'qrdistill[gguf]'",
}


class Asked:
    """One student that answers one question at a time.

    style: a style of the run's, `free`, or None: the best on dev (free where the run has not chosen one). Raises
    InputError for a student or style that the run does not have.
    """

    def __init__(
        self, run_dir: Path, student: str, *, style: str | None, temperature: float, max_tokens: int, device: str
    ) -> None:
        from qrdistill.runs.leaving.export import load_trained

        run = Run(run_dir)
        styles = resolve_styles(run.config.paths.styles)
        if style is None:
            style = run.scores.get("best_style", {}).get(student) if (run_dir / "scores.json").is_file() else None
        elif style != FREE and style not in styles:
            raise InputError(f"--style {style}: {run_dir} has {', '.join([*styles, FREE])}")
        self._style = styles.get(style or FREE)
        self._temperature, self._max_tokens = temperature, max_tokens
        self._student = load_trained(run, student, device=device)
        self._student.model.eval()

    @property
    def manner(self) -> str:
        """For people: how it is asked."""
        return f"asked for {self._style.name}" if self._style else "free to choose its style"

    def answer(self, question: str, write: Callable[[str], None]) -> None:
        """Writes the answer piece by piece. Raises InputError for a question that leaves no room for one."""
        import torch

        codec, model = self._student.codec, self._student.model
        ids = codec.prompt_ids(student_prompt(question, self._style))
        room = self._max_tokens if codec.max_context is None else min(self._max_tokens, codec.max_context - len(ids))
        if room < 1:
            raise InputError(f"the question takes {len(ids)} tokens, the student's context holds {codec.max_context}")
        prompt = torch.tensor([ids], device=self._student.device)
        sampling = {"do_sample": True, "temperature": self._temperature} if self._temperature else {"do_sample": False}
        with torch.no_grad():
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=room,
                eos_token_id=sorted(codec.stop_ids),
                pad_token_id=codec.end_id,
                streamer=_Pieces(codec.decode, write),
                **sampling,
            )


class _Pieces:
    """A streamer of transformers': text as soon as its characters are whole."""

    def __init__(self, decode: Callable[[Sequence[int]], str], write: Callable[[str], None]) -> None:
        self._decode, self._write = decode, write
        self._ids: list[int] = []
        self._begun = False  # the prompt comes by first
        self._done = 0

    def put(self, value: Any) -> None:
        if not self._begun:
            self._begun = True
            return
        self._ids += value.flatten().tolist()
        text = self._decode(self._ids)
        if not text.endswith("\ufffd"):  # the first bytes of a character
            self._write(text[self._done :])
            self._done = len(text)

    def end(self) -> None:
        self._write(self._decode(self._ids)[self._done :])


def serve(run_dir: Path, student: str, *, engine: str | None, host: str, port: int) -> int:
    """Runs a server with the student until it ends; its exit code.

    engine: vllm, transformers or llama.cpp; None: the first that is installed. Raises InputError where it is not.
    """
    Run(run_dir).student(student)
    chosen = _engine(engine)
    with tempfile.TemporaryDirectory(prefix="qrdistill-serve-") as scratch:
        served = _served(run_dir, student, chosen, Path(scratch, student))
        command = _command(chosen, served, student, host, port)
        name = str(served) if chosen == "transformers" else student
        print(
            f"{student} by {chosen} on http://{host}:{port}/v1 as the model {name}; Ctrl-C ends it\n"
            f"  curl http://{host}:{port}/v1/chat/completions -H 'Content-Type: application/json' "
            f"""-d '{{"model": "{name}", "messages": [{{"role": "user", "content": "..."}}]}}'""",
            file=sys.stderr,
            flush=True,
        )
        process = subprocess.Popen(command)
        try:
            return process.wait()
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _engine(engine: str | None) -> str:
    usable = [name for name in ENGINES if _is_installed(name)]
    if engine is None:
        if not usable:
            ways = "; ".join(f"{name}: {how}" for name, how in ENGINES.items())
            raise InputError(f"no server is installed to hand a student to. {ways}")
        return usable[0]
    if engine not in ENGINES:
        raise InputError(f"--with {engine}: there are {', '.join(ENGINES)}")
    if engine not in usable:
        raise InputError(f"--with {engine}: it is not installed; {ENGINES[engine]}")
    return engine


def _is_installed(engine: str) -> bool:
    if engine == "vllm":
        return find_spec("vllm") is not None
    if engine == "transformers":
        return find_spec("fastapi") is not None and find_spec("uvicorn") is not None
    server = shutil.which("llama-server") is not None or _has_llama_cpp_server()
    return server and find_spec("gguf") is not None


def _has_llama_cpp_server() -> bool:
    return all(find_spec(name) is not None for name in ("llama_cpp", "fastapi", "uvicorn"))


def _served(run_dir: Path, student: str, engine: str, scratch: Path) -> Path:
    """What the server is given: the run's own folder where that is enough, else a merged copy."""
    from qrdistill.runs.leaving.export import export_from_run

    own = Run(run_dir).student(student).resolve()
    complete = (own / "chat_template.jinja").is_file() and not (own / "adapter_config.json").is_file()
    if engine != "llama.cpp" and complete:
        return own
    gguf = "f16" if engine == "llama.cpp" else None
    export_from_run(run_dir, student, scratch, merge=True, gguf=gguf)
    return next(scratch.glob("*.gguf")) if gguf else scratch


def _command(engine: str, served: Path, student: str, host: str, port: int) -> list[str]:
    place = ["--host", host, "--port", str(port)]
    if engine == "vllm":
        named = ["--model", str(served), "--served-model-name", student]
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *named, *place]
    if engine == "transformers":
        start = "from transformers.cli.transformers import main; main()"
        return [sys.executable, "-c", start, "serve", str(served), *place]
    if (server := shutil.which("llama-server")) is not None:
        return [server, "-m", str(served), "--alias", student, "--jinja", "--repeat-penalty", "1.0", *place]
    return [sys.executable, "-m", "llama_cpp.server", "--model", str(served), "--model_alias", student, *place]
