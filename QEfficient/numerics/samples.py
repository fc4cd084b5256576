"""What a check runs: texts of several lengths, random rows of many shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from QEfficient.errors import UsageError
from QEfficient.numerics.probes import RowSpace, draw, probes
from QEfficient.numerics.sentences import LONG, SENTENCES
from QEfficient.numerics.verify import Sample
from QEfficient.records import Shape, TensorSpec
from QEfficient.runtime.beside import of_tokens
from QEfficient.runtime.plan import Batch
from QEfficient.runtime.run import build
from QEfficient.runtime.tables import Tables
from QEfficient.text.tokenizer import Tokenizer

BATCH = 8  # texts that are run at once
LONGEST = 768  # tokens of the longest random row: past what most models treat as near, or as short
CUTS = (512, 256, 128, 64)  # tokens: every program of usual buckets has one text about as long as its longest
FRAMES = 48  # likewise for clips of samples, in times the shortest one


def all_samples(
    space: RowSpace, tokenizer: Tokenizer | None, texts: Sequence[str], *, longest: int | None, limit: int
) -> list[Sample]:
    """Random rows of many shapes, the longest among them; the built-in texts, and the caller's.

    Args:
        space: What a row may be.
        tokenizer: The model's; ``None``: random rows only.
        texts: The caller's.
        longest: Tokens, or samples, of the longest bucket; ``None``: nothing is compiled.
        limit: Tokens that the model takes of a text.

    Raises:
        InputError: A text has a token that the model has no row for.
    """
    bucket = longest if space.architecture.has_length(space.config) else None
    found = random_samples(space, longest=bucket)
    if tokenizer is None:
        return found
    return found + text_samples(
        tokenizer, (*SENTENCES, LONG, *texts), space, longest=min(bucket or LONGEST, limit, LONGEST)
    )


def refuse_texts(texts: Sequence[str], name: str) -> None:
    """Refuses texts for a model without a tokenizer.

    Raises:
        UsageError: There are texts.
    """
    if texts:
        raise UsageError(
            "The model takes no texts here, or has no tokenizer, so it can't be run on texts.",
            got=f"{len(texts)} texts for {name}",
            allowed="texts=None: random rows are compared then",
            do="leave texts out, or load the model by name, from a repo whose tokenizer has a fast form",
        )


def text_samples(tokenizer: Tokenizer, texts: Sequence[str], space: RowSpace, *, longest: int) -> list[Sample]:
    """Texts in batches of about one length, the longest first. Every other row has boxes and the like of its own.

    Args:
        tokenizer: The model's.
        texts: What to run.
        space: What a row may be. Where an input is no row of tokens, there is nothing to run; where rows can't be
            padded, a batch has texts of exactly one length.
        longest: Tokens after which a text is cut.

    Raises:
        InputError: A text has a token that the model has no row for.
    """
    inputs, rules, tables = space.inputs, space.rules, space.tables
    rows = of_tokens(tokenizer.encode(texts, max_length=longest).rows, inputs, rules)
    columns = dict(rows.columns)
    if any(spec.name not in columns or spec.shape[:2] != ("batch_size", "seq_len") for spec in inputs):
        return []
    Tables(tables, tokenizer.token).check(rows, [repr(text[:40]) for text in texts])
    rng = np.random.default_rng(0)
    for one in rules.more:
        drawn = [draw(one, (length,), rng, tables) if row % 2 else None for row, length in enumerate(rows.lengths)]
        columns[one.name] = [own if new is None else new for own, new in zip(columns[one.name], drawn, strict=True)]
    rows, fill = replace(rows, columns=columns), rules.fill(tokenizer.facts)
    samples = []
    for batch in _batches(rows.lengths, rules.pads):
        width = rows.lengths[batch[0]]
        arrays = build(inputs, rows, Batch(tuple(batch), Shape(width, len(batch))), fill)
        names = tuple(f"{texts[row][:40]!r} ({rows.lengths[row]} tokens)" for row in batch)
        samples.append(Sample(arrays, names, texts=True))
    return samples


def _batches(lengths: Sequence[int], pads: bool) -> list[list[int]]:
    result: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        last = result[-1] if result else []
        longest = lengths[last[0]] if last else 0
        if last and len(last) < BATCH and lengths[row] >= (longest / 2 if pads else longest):  # at most half is padding
            last.append(row)
        else:
            result.append([row])
    return result


def random_samples(space: RowSpace, *, longest: int | None = None) -> list[Sample]:
    """Random inputs of several shapes.

    Args:
        space: What a row may be.
        longest: Tokens, or samples, that a row may have; left out, as many as the model takes, or :data:`LONGEST`.
    """
    architecture, config = space.architecture, space.config
    most = FRAMES if space.shortest > 1 else LONGEST
    most = min(most, architecture.max_length(config) or most, (longest or most * space.shortest) // space.shortest)
    return [
        Sample(arrays, tuple(f"random row {row} of {rows}" for row in range(rows)))
        for arrays in probes(space, most)
        for rows in [len(next(iter(arrays.values())))]
    ]


def bucket_of(inputs: Sequence[TensorSpec], samples: Sequence[Sample]) -> Shape:
    """One that holds every sample; texts that follow are not longer than the longest random row."""
    lengths = [
        sample.inputs[spec.name].shape[1] for spec in inputs if spec.shape[1:2] == ("seq_len",) for sample in samples
    ]
    return Shape(max(lengths)) if lengths else Shape()
