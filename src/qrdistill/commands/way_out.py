"""The commands by which students leave a run: export, chat, serve. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from qrdistill.base.errors import InputError
from qrdistill.commands.options import AsJson, Quiet, progress_for

RunDir = Annotated[Path, typer.Argument(help="A run directory.", show_default=False)]
Student = Annotated[str, typer.Argument(help="A student's name.", show_default=False)]
Style = Annotated[
    str | None,
    typer.Option("--style", help="A style's name, or `free`.  [default: the best on dev]", show_default=False),
]


def add_to(app: typer.Typer) -> None:
    """Makes them commands of the command line."""
    app.command(
        epilog="Example: qrdistill export runs/demo/learned mistral --to ./my-student --gguf q8_0   |   "
        "qrdistill export runs/my-run ada --to ./ada --merge --push me/ada --private --dry-run"
    )(export)
    app.command(
        epilog="Example: qrdistill chat runs/demo/learned mistral   |   "
        "echo 'Ann has 3 pens and buys 4. How many?' | qrdistill chat runs/demo/learned mistral --style free"
    )(chat)
    app.command(
        epilog="Example: qrdistill serve runs/demo/learned mistral --port 8080   |   "
        "qrdistill serve runs/my-run ada --with vllm"
    )(serve)


def export(
    run_dir: RunDir,
    name: Annotated[str, typer.Argument(help="A student's name, or `paths`.", show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="The folder to write.", show_default=False)],
    format: Annotated[
        str, typer.Option(help="Of NAME `paths`: messages, prompt-completion, dpo or sharegpt.")
    ] = "messages",
    merge: Annotated[bool, typer.Option("--merge", help="Merge LoRA adapters into the weights.")] = False,
    gguf: Annotated[
        str | None,
        typer.Option("--gguf", help="Add a file for llama.cpp and Ollama: f16, q8_0 or q4_k_m.", show_default=False),
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", help="A hub repository to upload to (HF_TOKEN).", show_default=False)
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the folder, upload nothing.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """A trained student as an ordinary Hugging Face folder, with a card and the commands that run it; or `paths`: the
    kept paths as a data set for other trainers."""
    if name == "paths":
        from qrdistill.commands.export_paths import export_data_set

        export_data_set(run_dir, to, format=format, push=push, private=private, dry_run=dry_run, as_json=as_json)
        return
    from qrdistill.runs.leaving.export import export_from_run

    done = export_from_run(
        run_dir,
        name,
        to,
        merge=merge,
        gguf=gguf,
        push=push,
        private=private,
        dry_run=dry_run,
        progress=progress_for(quiet),
    )
    if as_json:
        print(json.dumps(dataclasses.asdict(done), default=str))
        return
    print(f"{done.folder} ({done.bytes / 2**20:.1f} MiB: {', '.join(done.files)}); README.md says how to run it")
    if done.repository is not None:
        kind = "private repository" if private else "repository"
        state = "pushed to" if done.pushed else "not pushed (--dry-run): all of it would go to"
        print(f"{state} the {kind} {done.repository}")


def chat(
    run_dir: RunDir,
    student: Student,
    style: Style = None,
    temperature: Annotated[float, typer.Option(help="0 writes the likeliest text.", min=0.0)] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Tokens of one answer, at most.", min=1)] = 400,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")] = "auto",
) -> None:
    """Ask a student questions; its answers appear as it writes them. Each question stands alone."""
    from qrdistill.runs.leaving.try_out import Asked

    asked = Asked(run_dir, student, style=style, temperature=temperature, max_tokens=max_tokens, device=device)
    person = sys.stdin.isatty()
    if person:
        print(f"{student}, {asked.manner}; an empty line ends it", file=sys.stderr)
    while True:
        print("> " if person else "", end="", file=sys.stderr, flush=True)
        question = sys.stdin.readline()
        if not question.strip():
            if not question or person:
                return
            continue
        try:
            asked.answer(question.strip(), _say)
        except InputError as error:
            print(f"qrdistill: {error}", end="", file=sys.stderr, flush=True)
        print(flush=True)


def _say(piece: str) -> None:
    from qrdistill.base.untrusted.clean_text import clean_text

    print(clean_text(piece), end="", flush=True)


def serve(
    run_dir: RunDir,
    student: Student,
    engine: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="vllm, transformers or llama.cpp.  [default: the first that is installed]",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where it listens; 0.0.0.0: for everybody.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 8000,
) -> None:
    """Hand a student to an OpenAI-compatible server, until Ctrl-C."""
    from qrdistill.runs.leaving.try_out import serve as serve_student

    raise typer.Exit(serve_student(run_dir, student, engine=engine, host=host, port=port))
