"""What a trainer is given beside the module: rows as the model reads them, and how they become batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.errors import UsageError
from QEfficient.records import Json
from QEfficient.train.choices import choice_collator, longest_choice
from QEfficient.train.features import HeadReader, collator
from QEfficient.train.fingerprint import processor_reading, reading
from QEfficient.train.labelled import Feature
from QEfficient.train.masking import MaskedRows
from QEfficient.train.rows import check_tokens
from QEfficient.train.signal_rows import ClipReader, ImageReader, SignalRows
from QEfficient.train.speech import SpeechReader

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.train.labels import Labels

SIGNAL_TASKS: Mapping[str, tuple[str, ...]] = {
    "image-classification": ("size", "model_input_names"),
    "audio-classification": ("sampling_rate", "pad"),
    "automatic-speech-recognition": ("feature_extractor", "tokenizer"),
}
"""Task of images or clips → what the processor has that reads them."""


LABELS_PER_TOKEN = ("token-classification", "fill-mask")
"""Tasks whose rows have a label a token."""


@dataclass(frozen=True, slots=True)
class Material:
    """Rows to train on, and rows that are held out.

    Attributes:
        task: What they are for.
        rows: To train on.
        held_out: Held out; ``None`` without such rows.
        lengths: Of each row to train on: tokens, samples or frames.
        collate: Rows → a batch.
        read: How they were read, for a run's fingerprint.
        begin: Told the number of an epoch before it begins, where the rows differ from epoch to epoch.
    """

    task: str
    rows: Sequence[Feature]
    held_out: Sequence[Feature] | None
    lengths: Sequence[int]
    collate: Callable[[Sequence[Feature]], Feature]
    read: Mapping[str, Json]
    begin: Callable[[int], object] | None = None

    def labels(self) -> Iterable[Any]:
        """The labels of the rows to train on; no image is read for them."""
        return self.rows.labels if isinstance(self.rows, SignalRows) else (row["labels"] for row in self.rows)


def of_texts(
    reader: HeadReader, train: Examples, held_out: Examples | None, seed: int, words: int | None = None
) -> Material:
    """Rows of texts.

    Args:
        reader: Reads them.
        train: The rows to train on.
        held_out: Those that are held out.
        seed: Of the tokens that are hidden, of plain texts for fill-mask.
        words: How many tokens the model knows; ``None`` where its config does not say it.

    Raises:
        InputError: A row does not fit; it names the row.
    """
    tokenizer = reader.tokenizer
    words = words or len(tokenizer)
    rows: Sequence[Feature] = reader.features(train, "training")
    others: Sequence[Feature] | None = None if held_out is None else reader.features(held_out, "held-out")
    for features, where in ((rows, "training"), (others or (), "held-out")):
        check_tokens((feature["input_ids"] for feature in features), words, where)
    begin = None
    collate = collator(tokenizer, train.task in LABELS_PER_TOKEN)
    lengths = [len(row["input_ids"]) for row in rows]
    if train.task == "multiple-choice":
        collate, lengths = choice_collator(tokenizer), list(map(longest_choice, rows))
    if train.task == "fill-mask":
        if "target" not in train.columns:
            rows = masked = MaskedRows(rows, tokenizer, (seed, 0), words)
            begin = masked.begin
        if held_out is not None and others is not None and "target" not in held_out.columns:
            others = MaskedRows(others, tokenizer, (seed, 1), words)
    read = reading(tokenizer, reader.max_length, reader.lower_case)
    return Material(train.task, rows, others, lengths, collate, read, begin)


def of_signals(
    module: nn.Module, processor: Any, train: Examples, held_out: Examples | None, labels: Labels | None
) -> Material:
    """Rows of images or clips.

    Args:
        module: The model that is to read them.
        processor: HuggingFace's image processor or feature extractor; for speech what has a ``feature_extractor`` and a
            ``tokenizer``.
        train: The rows to train on.
        held_out: Those that are held out.
        labels: Of the model; ``None`` for speech.

    Raises:
        UsageError: The processor is for something else.
        InputError: A row does not fit; it names the row.
    """
    needed = SIGNAL_TASKS[train.task]
    if not all(hasattr(processor, name) for name in needed):
        raise UsageError(
            f"This is no processor for {train.task}.",
            got=type(processor).__name__,
            allowed=f"one of transformers' with {' and '.join(needed)}",
            do="load the one that belongs to the model",
        )
    reader: ImageReader | ClipReader | SpeechReader
    if train.task == "image-classification":
        reader = ImageReader(module, processor)
    elif train.task == "audio-classification":
        reader = ClipReader(module, processor)
    else:
        reader = SpeechReader(module, processor)

    def read(examples: Examples, where: str) -> SignalRows:
        if isinstance(reader, SpeechReader):
            return reader.rows(examples.columns, where)
        known = None if labels is None else labels.of_rows(examples.label_names)
        numbers = [
            0 if known is None else known.position(label, row, where)
            for row, label in enumerate(examples.columns["label"])
        ]
        return reader.rows(examples.columns, numbers, where)

    rows = read(train, "training")
    others = None if held_out is None else read(held_out, "held-out")
    return Material(train.task, rows, others, rows.lengths, reader.collate, processor_reading(processor))
