"""A small translation model that means something: numbers in digits → in English or German words.

It is a Marian model as the hub has them: sentencepiece models for source and target, one vocabulary for both, and a
target language that the first token names, ``>>eng<<`` or ``>>deu<<``. Our own training makes it on first use, of the
numbers from 0 to 9,999 but for those that are held out, in about a minute of one CPU. It is kept in ``.data/`` of
the checkout, in a folder that is named by this file's content, so that a change makes another model; nothing is
committed. A number may end with a full stop, and its words then do.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.toy_models import kept, one_thread

REPO = "toy/numbers-to-words"
LANGUAGES = ("eng", "deu")
ENDS = "</s>", "<unk>", "<pad>"
_ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
).split()
_GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def english(number: int) -> str:
    """The number from 0 to 9,999 in English words."""
    thousands, hundreds, rest = number // 1000, number // 100 % 10, number % 100
    words = [f"{_ENGLISH[thousands]} thousand"] if thousands else []
    words += [f"{_ENGLISH[hundreds]} hundred"] if hundreds else []
    if rest >= 20:
        tens, ones = _ENGLISH_TENS[rest // 10 - 2], rest % 10
        words.append(f"{tens}-{_ENGLISH[ones]}" if ones else tens)
    elif rest or not words:
        words.append(_ENGLISH[rest])
    return " ".join(words)


def german(number: int) -> str:
    """The number from 0 to 9,999 in German, which is one word, with the ones before the tens."""
    thousands, hundreds, rest = number // 1000, number // 100 % 10, number % 100
    word = (f"{_GERMAN[thousands]}tausend" if thousands else "") + (f"{_GERMAN[hundreds]}hundert" if hundreds else "")
    if rest >= 20:
        tens, ones = _GERMAN_TENS[rest // 10 - 2], rest % 10
        return word + (f"{_GERMAN[ones]}und{tens}" if ones else tens)
    if rest == 1:
        return word + "eins"
    return word + _GERMAN[rest] if rest or not word else word


def pairs(numbers: list[int], end: str = "") -> list[tuple[str, str]]:
    """Sources, with the code of the target language before them, and targets: two of each number."""
    written = {"eng": english, "deu": german}
    return [
        (f">>{language}<< {number}{end}", written[language](number) + end)
        for number in numbers
        for language in LANGUAGES
    ]


def split() -> tuple[list[int], list[int]]:
    """The numbers to train on, and 1,000 that are held out: none below 100, which are too few to do without."""
    held_out = sorted(random.Random(0).sample(range(100, 10_000), 1_000))
    kept = sorted(set(range(10_000)) - set(held_out))
    return kept, held_out


def write_tokenizer(folder: Path) -> None:
    """Two sentencepiece models and the vocabulary of both, in the files that transformers reads a Marian's from."""
    import sentencepiece
    from transformers import MarianTokenizer

    texts = [*pairs(list(range(10_000))), *pairs(list(range(500)), ".")]
    sides = {"source": [source.split(" ", 1)[1] for source, _ in texts], "target": [target for _, target in texts]}
    pieces: dict[str, None] = {}
    for side, lines in sides.items():
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_prefix=str(folder / side),
            vocab_size=100,
            character_coverage=1.0,
            hard_vocab_limit=False,
            split_digits=True,
            max_sentencepiece_length=8,
            minloglevel=2,
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        (folder / f"{side}.vocab").unlink()
        model = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
        pieces |= {
            model.id_to_piece(i): None
            for i in range(model.get_piece_size())
            if not (model.is_control(i) or model.is_unknown(i))
        }
    codes = [f">>{language}<<" for language in LANGUAGES]
    names = [*ENDS[:2], *pieces, *codes, ENDS[2]]
    (folder / "vocab.json").write_text(json.dumps({name: place for place, name in enumerate(names)}), encoding="utf-8")
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    MarianTokenizer(*files, source_lang="num", target_lang="gmw", model_max_length=64).save_pretrained(folder)


@contextmanager
def without_advice() -> Iterator[None]:
    """While it is entered, Marian's tokenizer does not recommend a package that it makes no use of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        yield


def new_model(folder: Path) -> Any:
    """A model of two layers a side, for the folder's vocabulary, with random weights."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    words = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    end, pad = 0, words - 1
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=words,
        d_model=96,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_position_embeddings=64,
        activation_function="swish",
        scale_embedding=True,
        init_std=0.05,
        dropout=0.0,
        eos_token_id=end,
        pad_token_id=pad,
        decoder_start_token_id=pad,
        forced_eos_token_id=end,
    )
    model = MarianMTModel(config)
    model.generation_config.update(num_beams=4, max_length=64, bad_words_ids=[[pad]])
    return model


def write(folder: Path) -> Path:
    """Trains the model and writes it with its tokenizer into ``folder``, as a repo of the hub has them."""
    from transformers import MarianTokenizer

    from QEfficient.train.language import fine_tune_seq2seq
    from QEfficient.train.language_rows import SEQ2SEQ, read_language_rows
    from QEfficient.train.request import parse_request

    folder.mkdir(parents=True)
    with without_advice():
        write_tokenizer(folder)
        reader = MarianTokenizer.from_pretrained(folder)
    numbers, _ = split()
    rows = read_language_rows([*pairs(numbers), *pairs(random.Random(1).sample(numbers, 3_000), ".")], SEQ2SEQ)
    with tempfile.TemporaryDirectory() as checkpoints, one_thread():
        how = parse_request(
            {
                "max_steps": 800,
                "batch_size": 128,
                "learning_rate": 4e-3,
                "weight_decay": 0.0,
                "precision": None,
                "output_dir": checkpoints,
                "save_steps": 800,
            }
        )
        trained = fine_tune_seq2seq(new_model(folder), reader, rows, request=how)
    trained.module.save_pretrained(folder)
    return folder


def folder() -> Path:
    """The model's folder; makes it where it is not there."""
    return kept("toy-translation", Path(__file__), write)


def tokenizer() -> Any:
    """The model's, as transformers loads it."""
    from transformers import AutoTokenizer

    with without_advice():
        return AutoTokenizer.from_pretrained(folder())


@cache
def held_out() -> tuple[tuple[str, str], ...]:
    """2,000 sources and targets that it was never trained on: 1,000 numbers in two languages."""
    return tuple(pairs(split()[1]))


if __name__ == "__main__":
    print(folder())
