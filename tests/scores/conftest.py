"""A tiny real student in a Hugging Face folder, and short-hands for records."""

import json
from pathlib import Path

import pytest

from qrdistill.base.records import Answer, Question

WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(str(n) for n in range(30))]
WORDS += [
    "The",
    "answer",
    "is",
    ".",
    "?",
    "+",
    "=",
    "Solve",
    "it",
    "Think",
    "step",
    "by",
    "Facts",
    ":",
    "Write",
    "a",
    "program",
]


def save_student(folder: Path, seed: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=128,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def student_folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("students")
    return {name: save_student(home / name, seed) for seed, name in enumerate(["anna", "ben"])}


@pytest.fixture
def make_question():
    def make(id, gold="1", split="test", family="sums"):
        return Question(id=id, split=split, task="t", family=family, kind="number", question=f"{id} ?", gold=gold)

    return make


@pytest.fixture
def make_answer():
    """An answer with `said` as its answer; right where it is the gold "1", undecided where None."""

    def make(student, question, style, said="1", *, split="test", sample=0, logprob=-1.0, tokens=10, text=None):
        return Answer(
            student=student,
            question_id=question,
            split=split,
            style=style,
            sample=sample,
            text=text if text is not None else f"The answer is {said}.",
            answer=said,
            correct=None if said is None else said == "1",
            logprob=logprob,
            tokens=tokens,
        )

    return make


@pytest.fixture
def plain():
    """JSON there and back: what a file would hold."""
    return lambda value: json.loads(json.dumps(value, allow_nan=False))
