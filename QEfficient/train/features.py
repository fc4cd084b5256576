"""Rows of texts → what a module with a head is trained on: token ids with labels, padded a batch at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError
from QEfficient.train.choices import choice_features
from QEfficient.train.labelled import IGNORED, Feature
from QEfficient.train.labels import Labels, labels_of, numbers
from QEfficient.train.masking import word_features

if TYPE_CHECKING:
    from QEfficient.evaluate.record import Examples

_STRIDE = 4
"""Windows of a long context share one of so many parts."""


@dataclass(frozen=True, slots=True)
class HeadReader:
    """What makes features of a task's rows.

    Attributes:
        tokenizer: HuggingFace's, a fast one.
        max_length: Tokens after which a row is cut; a long context becomes several rows.
        labels: Of the model; ``None`` where there are none.
        lower_case: Texts are lower-cased before they are tokenised.
    """

    tokenizer: Any
    max_length: int
    labels: Labels | None
    lower_case: bool = False

    def features(self, examples: Examples, where: str) -> list[Feature]:
        """One feature a row, or a window of one.

        Args:
            examples: The rows.
            where: What an error calls them.

        Raises:
            InputError: A label does not fit; it names the row.
        """
        labels = None if self.labels is None else self.labels.of_rows(examples.label_names)
        reader = dataclasses.replace(self, labels=labels)
        made: list[Feature] = _ENCODERS[examples.task](reader, examples.columns, where)
        return made

    def texts(self, columns: Mapping[str, Sequence[Any]]) -> list[Feature]:
        """Tokens of texts, or of pairs."""
        pairs = None if "pair" not in columns else self.cased(columns["pair"])
        read = self.tokenizer(
            self.cased(columns["text"]), pairs, truncation="longest_first", max_length=self.max_length
        )
        return [{name: read[name][row] for name in read} for row in range(len(read["input_ids"]))]

    def cased(self, texts: Sequence[str]) -> list[str]:
        """The texts as the tokenizer is to see them."""
        return [text.lower() for text in texts] if self.lower_case else list(texts)

    def position(self, label: object, row: int, where: str) -> int:
        """The number of a label."""
        return self.known.position(label, row, where)

    @property
    def known(self) -> Labels:
        """The labels of a model that has some; one without knows none, and refuses each."""
        return self.labels or Labels(())


def find_labels(examples: Examples, config: Any) -> Labels | None:
    """The labels of a model that is to be trained on these rows; ``None`` for a task without any.

    Raises:
        InputError: There is one label only, or more than the model has.
    """
    columns = examples.columns
    if examples.task in ("text-classification", "image-classification", "audio-classification"):
        return labels_of(columns["label"], config, examples.label_names)
    if examples.task in ("multi-label", "token-classification"):
        role = "labels" if examples.task == "multi-label" else "tags"
        return labels_of((label for row in columns[role] for label in row), config, examples.label_names)
    return None


def _classes(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    labels = [reader.position(label, row, where) for row, label in enumerate(columns["label"])]
    return [feature | {"labels": label} for feature, label in zip(reader.texts(columns), labels, strict=True)]


def _several(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    rows = []
    for row, labels in enumerate(columns["labels"]):
        held = {reader.position(label, row, where) for label in labels}
        rows.append([float(number in held) for number in range(len(reader.known))])
    return [feature | {"labels": row} for feature, row in zip(reader.texts(columns), rows, strict=True)]


def _scores(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    scores = numbers(columns["score"], where)
    return [feature | {"labels": score} for feature, score in zip(reader.texts(columns), scores, strict=True)]


def _tags(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    """A word's label stands at its first token; its other tokens do not count, nor do special ones."""
    read = reader.tokenizer(
        [reader.cased(words) for words in columns["tokens"]],
        is_split_into_words=True,
        truncation=True,
        max_length=reader.max_length,
    )
    found = []
    for row, tags in enumerate(columns["tags"]):
        numbered = [reader.position(tag, row, where) for tag in tags]
        labels, before = [], None
        for word in read.word_ids(row):
            labels.append(IGNORED if word is None or word == before else numbered[word])
            before = word
        found.append({name: read[name][row] for name in read} | {"labels": labels})
    return found


def _answers(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    """Question and context; the labels are the first and last token of the answer, 0 and 0 where a window has none."""
    questions, contexts = reader.cased(columns["question"]), reader.cased(columns["context"])
    spans = [_span(columns, context, row, where) for row, context in enumerate(contexts)]
    _check_questions(reader, questions, where)
    read = reader.tokenizer(
        questions,
        contexts,
        truncation="only_second",
        max_length=reader.max_length,
        stride=reader.max_length // _STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    named = [name for name in read if name not in ("overflow_to_sample_mapping", "offset_mapping")]
    return [
        {name: read[name][window] for name in named}
        | {"labels": _tokens_of(spans[row], read["offset_mapping"][window], read.sequence_ids(window))}
        for window, row in enumerate(read["overflow_to_sample_mapping"])
    ]


def _check_questions(reader: HeadReader, questions: Sequence[str], where: str) -> None:
    """Beside a question there has to be room for more than what two windows share."""
    tokenizer = reader.tokenizer
    room = reader.max_length - tokenizer.num_special_tokens_to_add(pair=True) - reader.max_length // _STRIDE - 1
    for row, ids in enumerate(tokenizer(questions, add_special_tokens=False)["input_ids"]):
        if len(ids) > room:
            raise InputError(
                f"A question of the {where} rows leaves no room for its context.",
                got=f"{len(ids)} tokens in row {row}, of {reader.max_length} in all",
                allowed=f"at most {room} tokens",
                do="shorten the question, or pass a larger max_length",
            )


def _span(columns: Mapping[str, Sequence[Any]], context: str, row: int, where: str) -> tuple[int, int] | None:
    """First character of the answer, and the one behind its last; ``None`` without an answer."""
    answers = columns["answers"][row]
    if not answers:
        return None
    answer = answers[0]
    start = columns["starts"][row][0] if "starts" in columns else context.lower().find(answer.lower())
    if start < 0 or context[start : start + len(answer)].lower() != answer.lower():
        raise InputError(
            f"An answer of the {where} rows does not stand in its context.",
            got=f"{answer!r} in row {row}",
            allowed="a part of the context, word for word, and where it begins, if that is given",
            do="correct the row, or leave its answers empty if there is none",
        )
    return start, start + len(answer)


def _tokens_of(
    span: tuple[int, int] | None, offsets: Sequence[tuple[int, int]], parts: Sequence[int | None]
) -> list[int]:
    inside = [token for token, part in enumerate(parts) if part == 1]
    if span is None or not inside or offsets[inside[0]][0] > span[0] or offsets[inside[-1]][1] < span[1]:
        return [0, 0]
    first = max(token for token in inside if offsets[token][0] <= span[0])
    last = min(token for token in inside if offsets[token][1] >= span[1])
    return [first, last]


_ENCODERS: Mapping[str, Callable[[HeadReader, Mapping[str, Sequence[Any]], str], list[Feature]]] = {
    "text-classification": _classes,
    "multi-label": _several,
    "regression": _scores,
    "token-classification": _tags,
    "question-answering": _answers,
    "fill-mask": word_features,
    "multiple-choice": choice_features,
}
"""Task → how its rows become features."""

TASKS = tuple(_ENCODERS)
"""The tasks of texts that a module with a head is trained for."""


def collator(tokenizer: Any, per_token: bool) -> Callable[[Sequence[Feature]], Feature]:
    """What makes a batch of features: each input is filled up to the longest row.

    Args:
        tokenizer: Knows what fills a row: behind its end, as programs have it, whatever the tokenizer's own side is.
        per_token: Whether there is a label a token, which is filled up likewise.
    """
    import torch

    def collate(features: Sequence[Feature]) -> Feature:
        labels = [feature["labels"] for feature in features]
        inputs = [{name: value for name, value in feature.items() if name != "labels"} for feature in features]
        batch = dict(tokenizer.pad(inputs, padding_side="right", return_tensors="pt"))
        if per_token:
            width = batch["input_ids"].shape[1]
            labels = [row + [IGNORED] * (width - len(row)) for row in labels]
        batch["labels"] = torch.tensor(labels)
        return batch

    return collate
