"""Fixtures that several test folders share: tiny random students of any family, made in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = (
    "Ann has 3 apples and buys 4 more. How many apples does she have now? "
    "Think step by step. 3 + 4 = 7, so the answer is 7. Write a program. Verify backwards. "
    "A hen has 2 legs, a dog has 4 legs; x - 5 = 12. Bob drives 30 km, then 12 km."
)


def make_tokenizer(kind: str = "byte_level", **settings: Any) -> Any:
    """A small fast tokenizer: `byte_level` (GPT-2, Llama 3, Qwen), `prefix_space` (the same, adding one),
    `metaspace` (sentencepiece-like: Llama 2, Gemma, Mistral; with byte fallback)."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<s>", "</s>", "<unk>", "<turn>"]
    if kind in ("byte_level", "prefix_space"):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "prefix_space")
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=specials,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        bytes_ = [f"<0x{value:02X}>" for value in range(256)]
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=specials + bytes_, show_progress=False)
    tokenizer.train_from_iterator(list(TEXT.split(". ")) * 4, trainer)
    if kind == "metaspace":  # the byte tokens had to be special only while training
        import json

        content = json.loads(tokenizer.to_str())
        content["added_tokens"] = content["added_tokens"][: len(specials)]
        tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    chosen = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"} | settings
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{key: value for key, value in chosen.items() if value is not None}
    )


def make_config(family: str, vocabulary: int, **changes: Any) -> Any:
    from transformers import AutoConfig

    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if family in ("gemma", "gemma2", "gemma3_text", "qwen3"):
        settings["head_dim"] = 8
    if family in ("gemma2", "gemma3_text"):
        settings |= {"sliding_window": 8, "query_pre_attn_scalar": 8}
    if family == "gemma3_text":
        settings["layer_types"] = ["sliding_attention", "full_attention"]
    if family == "mistral":
        settings["sliding_window"] = None
    if family == "phi":
        settings["num_key_value_heads"] = 4
    return AutoConfig.for_model(family, **(settings | changes))


@pytest.fixture(scope="session")
def tiny_student_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_student_folder("mistral")` -> a Hugging Face folder with random weights, seeded.

    family: any transformers model type (llama, mistral, gemma, gemma2, gemma3_text, qwen2, qwen3, phi,
    phi3, ...); tokenizer: see `make_tokenizer`; seed: of the weights; chat_template: jinja or None;
    tokenizer_settings: passed on; everything else changes the model's config.
    """
    made: dict[str, Path] = {}

    def make(
        family: str = "mistral",
        *,
        tokenizer: str = "byte_level",
        seed: int = 0,
        chat_template: str | None = None,
        tokenizer_settings: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        key = repr((family, tokenizer, seed, chat_template, tokenizer_settings, sorted(changes.items())))
        if key not in made:
            import torch
            from transformers import AutoModelForCausalLM

            tokens = make_tokenizer(tokenizer, **(tokenizer_settings or {}))
            tokens.chat_template = chat_template
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModelForCausalLM.from_config(make_config(family, len(tokens), **changes))
                for parameter in model.parameters():  # far enough from zero for differences to show
                    if parameter.dim() > 1:
                        torch.nn.init.normal_(parameter, std=0.15)
            folder = tmp_path_factory.mktemp(family)
            model.save_pretrained(folder)
            tokens.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make
