"""Rows of several choices → what a model for multiple choice is trained on: a row of token ids for each choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError

if TYPE_CHECKING:
    from QEfficient.train.features import HeadReader
    from QEfficient.train.labelled import Feature


def choice_features(reader: HeadReader, columns: Mapping[str, Sequence[Any]], where: str) -> list[Feature]:
    """A list of token ids a choice, read as a pair with its prompt; the label is the position of the right one.

    Args:
        reader: Reads the texts.
        columns: With the roles ``prompt``, ``choices`` and ``label``.
        where: What an error calls the rows.

    Raises:
        InputError: Rows have different numbers of choices, or a label is none of them; it names the row.
    """
    rows = []
    for row, (prompt, choices, label) in enumerate(
        zip(columns["prompt"], columns["choices"], columns["label"], strict=True)
    ):
        _check(row, choices, label, len(columns["choices"][0]), where)
        read = reader.texts({"text": [prompt] * len(choices), "pair": choices})
        rows.append({name: [one[name] for one in read] for name in read[0]} | {"labels": int(label)})
    return rows


def _check(row: int, choices: Sequence[str], label: object, count: int, where: str) -> None:
    if len(choices) != count or count < 2:
        raise InputError(
            f"The {where} rows don't have the same number of choices, two or more.",
            got=f"{len(choices)} choices in row {row}, {count} in row 0",
            allowed="as many in each row, so that the rows of a step make one array",
            do="drop rows with others, or train on each number by itself",
        )
    if type(label) is not int or not 0 <= label < count:
        raise InputError(
            f"A label of the {where} rows is none of its choices.",
            got=f"{label!r} in row {row}, which has {count} choices",
            allowed=f"the position of the right choice, from 0 to {count - 1}",
            do="number the choices from 0",
        )


def choice_collator(tokenizer: Any) -> Callable[[Sequence[Feature]], Feature]:
    """What makes a batch ``(rows, choices, length)``: every choice is filled up to the longest one.

    Args:
        tokenizer: Knows what fills a choice.
    """
    import torch

    def collate(features: Sequence[Feature]) -> Feature:
        count = len(features[0]["input_ids"])
        flat = [
            {name: feature[name][choice] for name in feature if name != "labels"}
            for feature in features
            for choice in range(count)
        ]
        padded = tokenizer.pad(flat, padding_side="right", return_tensors="pt")
        batch = {name: value.reshape(len(features), count, -1) for name, value in padded.items()}
        return batch | {"labels": torch.tensor([feature["labels"] for feature in features])}

    return collate


def longest_choice(feature: Feature) -> int:
    """Tokens of a row's longest choice."""
    return max(map(len, feature["input_ids"]))
