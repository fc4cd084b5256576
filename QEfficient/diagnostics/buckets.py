"""Lengths of a caller's texts, and the buckets that serve them best: ``compile(seq_len="auto", texts=…)``.

A second call with the same model needs neither torch nor transformers: the tokenizer that they make stays in the cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from QEfficient import arguments
from QEfficient.build import request
from QEfficient.cache import Cache, file_digest, library_versions, write_envelope
from QEfficient.errors import OptionError, UsageError
from QEfficient.inference.encode import all_prompts, find_prompt
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import Bucket, Json, TextFacts
from QEfficient.runtime.stream import WINDOW
from QEfficient.runtime.suggest import Cost, suggest_buckets
from QEfficient.source.recipe import Reach, Recipe, tokenizer_keywords
from QEfficient.text.facts import TOKENIZER, preprocessing_files, write_tokenizer
from QEfficient.text.tokenizer import Tokenizer

AUTO = "auto"
BUCKETS = 5
BATCHES = (1, 2, 4, 8, 16)
"""Batch sizes to choose from, where the caller names none."""

RUN_POSITIONS, BATCH_POSITIONS = 16, 512
"""What a run costs beside its positions on the host, in positions, and how many of them a batch of several rows has.

A six-layer MiniLM on two CPUs computes one row of 10 tokens in the time of some 25 positions of a large batch, and is
no faster a position beyond 512.
"""

VERIFIED = 256
"""The most of the texts that are also verified on: some of every length, the shortest and the longest among them."""

STAGE = "tokenizer"
NO_LIMIT = 10**9  # tokens; texts are counted whole


@dataclass(frozen=True, slots=True)
class Suggested:
    """What texts ask for.

    Attributes:
        buckets: Ascending; the last one holds the longest row that the model takes.
        texts: Those of the texts to verify on.
    """

    buckets: tuple[Bucket, ...]
    texts: tuple[str, ...]


def wants_buckets(seq_len: object, texts: Sequence[str], buckets: object) -> bool:
    """Whether ``compile`` is to find the buckets itself.

    Raises:
        OptionError: ``seq_len="auto"`` without texts, or a number of buckets without it.
    """
    wanted = isinstance(seq_len, str) and seq_len == AUTO
    if wanted and not texts:
        raise OptionError(
            'seq_len="auto" finds buckets for texts, and there are none.',
            got="no texts",
            allowed="texts like those that will come: some hundreds show their lengths well",
            do="pass texts=[…], or name the lengths",
        )
    if buckets is not None and not wanted:
        raise OptionError(
            "A number of buckets is given, but not that they are to be found.",
            got=f"buckets={buckets!r}, seq_len={seq_len!r}",
            allowed='buckets with seq_len="auto"',
            do='pass seq_len="auto" and texts=[…], or drop buckets',
        )
    return wanted


def suggested(
    recipe: Recipe,
    text: TextFacts,
    reach: Reach,
    texts: Sequence[str],
    *,
    buckets: object = None,
    batch: object = None,
    cost: Cost | None = None,
) -> Suggested:
    """The buckets in which texts cost least.

    Args:
        recipe: Which model.
        text: Its text side.
        reach: Which lengths it takes.
        texts: Texts like those that will come.
        buckets: The most of them; left out, :data:`BUCKETS`.
        batch: Rows of each; left out, each has its own, whichever costs least.
        cost: What a run costs; left out, as on the host.

    Raises:
        UsageError: The model has no tokenizer.
        OptionError: A number that is none.
    """
    most = BUCKETS if buckets is None else arguments.positive("buckets", buckets, "buckets")
    sizes = BATCHES if batch is None else (arguments.positive("batch_size", batch, "rows"),)
    limit = request.longest(None, reach, text)
    lengths = text_lengths(texts, tokenizer_of(None, recipe, text))
    rows = [min(limit, max(reach.shortest, length)) for length in lengths]
    cost = cost or (host_cost if batch is None else run_cost)
    found = suggest_buckets(rows, most, cost=cost, batch_sizes=sizes, longest=limit)
    return Suggested(found, _spread(texts, rows))


def run_cost(length: int, batch: int) -> float:
    """What a run costs on the host, in positions."""
    return float(length * batch + RUN_POSITIONS)


def host_cost(length: int, batch: int) -> float:
    """As :func:`run_cost`, where the batch is to be chosen; a large one of long rows has no use there."""
    return float("inf") if batch > 1 and length * batch > BATCH_POSITIONS else run_cost(length, batch)


def card_cost(recipe: Recipe, num_cores: object) -> Cost | None:
    """Predicted seconds of a run on a card, ``None`` where nothing can be predicted.

    Args:
        recipe: Which model.
        num_cores: AI cores of an instance; the card holds as many instances as fit.
    """
    cores = arguments.positive("num_cores", num_cores, "cores")
    from QEfficient.analysis.cards import CARDS
    from QEfficient.analysis.predictor import predict
    from QEfficient.diagnostics.recommend import columns

    fitting = [card for card in CARDS if card.cores >= cores]
    try:
        network = columns(recipe, None)
    except UsageError:
        return None
    if not fitting:
        return None
    card = fitting[0]
    row = network | {
        "num_cores": cores,
        "instances": card.cores // cores,
        "ols": None,
        "mos": None,
        "multicast_weights": False,
        "set_size": 1,
    }

    @cache
    def cost(length: int, batch: int) -> float:
        return batch / float(predict(row | {"seq_len": length, "batch_size": batch}, card.name).samples_per_second)

    return cost


def _spread(texts: Sequence[str], lengths: Sequence[int]) -> tuple[str, ...]:
    """At most :data:`VERIFIED` texts, evenly over the order of their lengths."""
    if len(texts) <= VERIFIED:
        return tuple(texts)
    order = sorted(range(len(texts)), key=lambda text: lengths[text])
    step = (len(order) - 1) / (VERIFIED - 1)
    return tuple(texts[order[round(place * step)]] for place in range(VERIFIED))


# ---------------------------------------------------------------------------------------------- texts → lengths


def tokenizer_of(loaded: LoadedProgram | None, recipe: Recipe | None, text: TextFacts | None) -> Tokenizer | None:
    """The model's tokenizer, which shortens nothing; ``None`` where there is none, or it has no fast form."""
    own = loaded.program.manifest.text if loaded is not None else None
    if loaded is not None and own is not None and own.tokenizer is not None:
        return Tokenizer.from_folder(loaded.program.path, replace(own, max_length=NO_LIMIT))
    folder = recipe.origin.folder if recipe is not None else None
    if recipe is None or folder is None or text is None:
        return None
    kept = _kept_tokenizer(recipe, folder)
    if not (kept / TOKENIZER).is_file():
        return None
    return Tokenizer.from_folder(kept, replace(text, tokenizer=TOKENIZER, max_length=NO_LIMIT))


def _kept_tokenizer(recipe: Recipe, folder: Path) -> Path:
    """The folder of the cache that holds the model's tokenizer in its portable form, if it has one."""
    ingredients: dict[str, Json] = {
        "files": {path.name: file_digest(path) for path in preprocessing_files(folder)},
        "tokenizer": tokenizer_keywords(recipe.origin),
        "config": json.loads(json.dumps(recipe.origin.config(), default=str)),
        "versions": library_versions(),
    }

    def build(workdir: Path) -> None:
        write_tokenizer(folder, workdir, tokenizer_keywords(recipe.origin))
        write_envelope(workdir, stage=STAGE, key=ingredients, versions=library_versions(), body={})

    path, _ = Cache().get_or_build(recipe.origin.name, STAGE, ingredients, build)
    return path


def text_lengths(texts: Sequence[str], tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Tokens of each text, special tokens and the default prompt included; nothing is shortened.

    Raises:
        UsageError: The model has no tokenizer that reads texts.
    """
    if tokenizer is None:
        raise UsageError(
            "This model has no tokenizer, so texts have no length.",
            got=f"{len(texts)} texts",
            allowed="a model that was loaded by name, from a repo whose tokenizer has a fast form",
            do="leave texts out",
        )
    prompt = find_prompt(all_prompts(tokenizer.facts), tokenizer.facts.default_prompt, None, None)
    found: list[int] = []
    for start in range(0, len(texts), WINDOW):
        found += tokenizer.encode(texts[start : start + WINDOW], prompt=prompt, first=start).rows.lengths
    return tuple(found)
