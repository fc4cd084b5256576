"""A tokenizer of each kind of translation model, as a folder that ``AutoTokenizer`` reads, trained on real texts."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel

from tests.generation.tokenizer_kinds import texts

SIZE = 1500
LANGUAGES = ("deu", "fra", "jpn")
KINDS: dict[str, Callable[[Path], Any]] = {}


def kind(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Lists what writes a tokenizer's files and gives its ``config.json``."""
    KINDS[make.__name__] = make
    return make


@cache
def corpus() -> tuple[str, ...]:
    return tuple(text.replace("\n", " ") for text in texts(1200))


def sentencepiece_model(path: Path, model_type: str = "unigram", **changes: Any) -> list[str]:
    """Trains a model into ``path``; gives its pieces but for the control ones."""
    stem = path.with_name("trained")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()),
        model_prefix=str(stem),
        model_type=model_type,
        **{"vocab_size": SIZE, "character_coverage": 0.98, "hard_vocab_limit": False, "minloglevel": 2, **changes},
    )
    stem.with_suffix(".vocab").unlink()
    stem.with_suffix(".model").rename(path)
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    places = range(model.get_piece_size())
    return [model.id_to_piece(place) for place in places if not (model.is_control(place) or model.is_unknown(place))]


def _vocabulary(folder: Path, names: list[str]) -> None:
    content = {name: place for place, name in enumerate(dict.fromkeys(names))}
    (folder / "vocab.json").write_text(json.dumps(content), encoding="utf-8")


def _marian(folder: Path, codes: list[str], model_type: str = "unigram", **named: str) -> dict[str, Any]:
    source = sentencepiece_model(folder / "source.spm", model_type)
    target = sentencepiece_model(folder / "target.spm", model_type, vocab_size=SIZE - 300)
    lacking = set(source[::97])  # as real ones lack pieces that never came in training
    pieces = [piece for piece in [*source, *target] if piece not in lacking]
    _vocabulary(folder, ["</s>", "<unk>", *pieces, *codes, "<pad>"])
    files = [str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        transformers.MarianTokenizer(*files, **named).save_pretrained(folder)
    return {"model_type": "marian"}


@kind
def marian(folder: Path) -> dict[str, Any]:
    return _marian(folder, [], source_lang="en", target_lang="de")


@kind
def marian_of_languages(folder: Path) -> dict[str, Any]:
    return _marian(folder, [f">>{code}<<" for code in LANGUAGES], "bpe", source_lang="en", target_lang="mul")


@kind
def m2m100(folder: Path) -> dict[str, Any]:
    pieces = sentencepiece_model(folder / "sentencepiece.bpe.model", "bpe")
    _vocabulary(folder, ["<s>", "<pad>", "</s>", "<unk>", *pieces])
    files = str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model")
    made = transformers.M2M100Tokenizer(*files)
    codes = [f"__{code}__" for code in made.lang_code_to_id]  # as the repos of the hub have them
    transformers.M2M100Tokenizer(*files, additional_special_tokens=codes).save_pretrained(folder)
    return {"model_type": "m2m_100"}


@kind
def nllb(folder: Path) -> dict[str, Any]:
    sentencepiece_model(folder / "sentencepiece.bpe.model", "bpe")
    codes = ["eng_Latn", "deu_Latn", "jpn_Jpan"]
    return _written(folder, "NllbTokenizer", "m2m_100", additional_special_tokens=codes)


@kind
def mbart(folder: Path) -> dict[str, Any]:
    sentencepiece_model(folder / "sentencepiece.bpe.model")
    return _written(folder, "MBartTokenizer", "mbart")


@kind
def mbart50(folder: Path) -> dict[str, Any]:
    sentencepiece_model(folder / "sentencepiece.bpe.model")
    return _written(folder, "MBart50Tokenizer", "mbart")


@kind
def t5(folder: Path) -> dict[str, Any]:
    sentencepiece_model(folder / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return _written(folder, "T5Tokenizer", "t5")  # mT5's is of the same class


@kind
def pegasus(folder: Path) -> dict[str, Any]:
    sentencepiece_model(folder / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return _written(folder, "PegasusTokenizer", "pegasus")


@kind
def bart(folder: Path) -> dict[str, Any]:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=specials, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator(corpus(), trainer)
    core.model.save(str(folder))
    return {"model_type": "bart", "tokenizer_class": "BartTokenizer"}


def _written(folder: Path, name: str, model_type: str, **said: Any) -> dict[str, Any]:
    """As old repos have it: a sentencepiece file and the name of a class."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **said}))
    return {"model_type": model_type}


def tokenizer_folder(folder: Path, name: str) -> Path:
    """Writes one kind into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(KINDS[name](folder)))
    return folder
