"""A small model that summarises: a report of some sentences about a town → its headline.

It is a T5 model as the hub has them: a sentencepiece model, a prefix for the task and its settings in
``task_specific_params``. Our own training makes it on first use, of reports that are put together here, in less than a
minute of one CPU; it is kept in ``.data/`` as :mod:`tests.toy_translation` keeps its own. What it has to learn is what
a summary is: three of the sentences matter, in whatever order they stand, and the others do not.
"""

from __future__ import annotations

import json
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.toy_models import kept, one_thread

REPO = "toy/reports-to-headlines"
PREFIX = "summarize: "
_TOWNS = "Bonn Lyon Oslo Turin Porto Ghent Cork Graz Malmo Brno Split Riga".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_WEATHER = {
    "Rain": (
        "It has been raining in {town} since the morning.",
        "Heavy showers keep the people of {town} at home.",
        "In {town} nobody leaves the house without an umbrella.",
    ),
    "Snow": (
        "It has been snowing in {town} since the morning.",
        "White roofs and white gardens are all that one sees in {town}.",
        "In {town} the children build a snowman.",
    ),
    "Sun": (
        "There is not a cloud over {town}.",
        "The people of {town} lie in the sun.",
        "In {town} nobody leaves the house without a hat.",
    ),
    "Fog": (
        "In {town} one does not see from house to house.",
        "A thick fog lies over {town}.",
        "The people of {town} drive slowly and with their lights on.",
    ),
}
_WHEN = ("This was reported on {day}.", "It is {day}.", "The newspaper of {day} says so.")
_DEGREES = (
    "The thermometer shows {degrees} degrees.",
    "In the afternoon {degrees} degrees are expected.",
    "It stays at {degrees} degrees.",
)
_ASIDE = (
    "The trains run on time.",
    "A new bridge was opened by the mayor.",
    "The market was well attended.",
    "Two roads are closed for repairs.",
    "The football club has lost again.",
    "A cat was found in the town hall.",
    "The museum shows old clocks.",
    "Bread has become dearer.",
)


def reports(count: int, seed: int) -> list[tuple[str, str]]:
    """Reports and their headlines."""
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        weather, town, day = dice.choice(list(_WEATHER)), dice.choice(_TOWNS), dice.choice(_DAYS)
        degrees = dice.randrange(10, 30)
        told = [dice.choice(_WEATHER[weather]), dice.choice(_WHEN), dice.choice(_DEGREES)]
        told += dice.sample(_ASIDE, dice.randrange(4))
        dice.shuffle(told)
        report = " ".join(told).format(town=town, day=day, degrees=degrees)
        found.append((report, f"{day}: {weather} in {town}, {degrees} degrees"))
    return found


@cache
def held_out() -> tuple[tuple[str, str], ...]:
    """300 reports and their headlines that it was never trained on."""
    seen = {report for report, _ in _rows()}
    return tuple(row for row in reports(400, seed=2) if row[0] not in seen)[:300]


@cache
def _rows() -> tuple[tuple[str, str], ...]:
    return tuple(reports(12_000, seed=1))


def write_tokenizer(folder: Path) -> None:
    """A sentencepiece model in the files that transformers reads a T5's from."""
    import sentencepiece

    lines = [PREFIX + report for report, _ in _rows()[:3_000]] + [headline for _, headline in _rows()[:3_000]]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "spiece"),
        vocab_size=500,
        hard_vocab_limit=False,
        character_coverage=1.0,
        minloglevel=2,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
    )
    (folder / "spiece.vocab").unlink()
    said = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 192}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def new_model(words: int) -> Any:
    """A model of two layers a side with random weights."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=words,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        task_specific_params={"summarization": {"prefix": PREFIX, "num_beams": 4, "max_length": 32}},
    )
    return T5ForConditionalGeneration(config)


def write(folder: Path) -> Path:
    """Trains the model and writes it with its tokenizer into ``folder``, as a repo of the hub has them."""
    from transformers import T5Tokenizer

    from QEfficient.train.language import fine_tune_seq2seq
    from QEfficient.train.language_rows import SEQ2SEQ, read_language_rows
    from QEfficient.train.request import parse_request

    folder.mkdir(parents=True)
    write_tokenizer(folder)
    reader = T5Tokenizer.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as checkpoints, one_thread():
        how = parse_request(
            {
                "max_steps": 500,
                "batch_size": 32,
                "learning_rate": 5e-3,
                "weight_decay": 0.0,
                "precision": None,
                "prompts": PREFIX,
                "output_dir": checkpoints,
                "save_steps": 500,
            }
        )
        rows = read_language_rows(list(_rows()), SEQ2SEQ)
        trained = fine_tune_seq2seq(new_model(len(reader)), reader, rows, request=how)
    trained.module.save_pretrained(folder)
    return folder


def folder() -> Path:
    """The model's folder; makes it where it is not there."""
    return kept("toy-summaries", Path(__file__), write)


if __name__ == "__main__":
    print(folder())
