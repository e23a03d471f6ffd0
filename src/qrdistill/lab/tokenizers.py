"""The two base students' tokenizers: different cuts of the same text, both lossless.

A token carries the space before it; a newline is a token of its own. Every number from 0 to 99 is
one token after a space, as it always stands in the lab's texts: with digits as tokens, students of
this size stay below 15 %. Printable ASCII is covered character by character.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Kind = Literal["words", "pieces"]

_CHARACTERS = ["\n", *(chr(code) for code in range(32, 127))]
_NUMBERS = [f" {number}" for number in range(100)]
# a word, a number below 100 or a run of signs, each with the space before it; else one character
_PATTERN = r" ?[A-Za-z]+| ?\d{1,2}(?!\d)| ?[^\sA-Za-z\d]+|\s|\d"


def build_tokenizer(kind: Kind, texts: Sequence[str], *, size: int, style: str) -> PreTrainedTokenizerFast:
    """A tokenizer over `texts`.

    kind: `words` adds the most frequent whole words, `pieces` the most frequent pairs (BPE), until
    there are `size` entries. style: names of the special tokens, as Mistral or Gemma have them.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bos, eos = ("<s>", "</s>") if style == "mistral" else ("<bos>", "<eos>")
    special = {"pad_token": "<pad>", "eos_token": eos, "bos_token": bos, "unk_token": "<unk>"}
    entries = list(special.values()) + _CHARACTERS + [n for n in _NUMBERS if n not in _CHARACTERS]
    splitter = pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated")
    counts = Counter(piece for text in texts for piece, _ in splitter.pre_tokenize_str(text))
    for entry in entries:
        counts.pop(entry, None)
    merges: list[tuple[str, str]] = []
    if kind == "words":
        frequent = sorted(counts, key=lambda word: (-counts[word], word))
        entries += frequent[: size - len(entries)]
    else:
        merges = _merges(counts, size - len(entries))
        entries += [left + right for left, right in merges]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    # ignore_merges: an entry that is a whole piece of the split text (a number, a word) is taken as it is
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
        **special,
    )


def _merges(counts: Counter[str], number: int) -> list[tuple[str, str]]:
    """Byte-pair encoding: the most frequent neighbours are joined, again and again; ties by text."""
    words = {tuple(word): count for word, count in counts.items()}
    merges: list[tuple[str, str]] = []
    while len(merges) < number:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_joined(word, best): count for word, count in words.items()}
    return merges


def _joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    done: list[str] = []
    index = 0
    while index < len(word):
        if word[index : index + 2] == pair:
            done.append(word[index] + word[index + 1])
            index += 2
        else:
            done.append(word[index])
            index += 1
    return tuple(done)
