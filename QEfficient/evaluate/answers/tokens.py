"""What a model answers token by token: tags of words, the answer in a context, the word behind a mask.

Which token belongs to which word or character, transformers' own fast tokenizers say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import whole
from QEfficient.errors import InputError, UsageError
from QEfficient.evaluate.answers.labels import positions
from QEfficient.evaluate.answers.runner import TokenModel
from QEfficient.evaluate.answers.texts import labels_of
from QEfficient.evaluate.data import MASK
from QEfficient.evaluate.record import Examples, Outcome

ROWS = 32  # of a batch
STRIDE = 128  # tokens by which the windows of a long context overlap, at most: run_squad's
LONGEST_QUESTION = 64  # tokens: run_squad's
LONGEST_ANSWER = 30  # tokens: run_squad's
BEST = 20  # starts and ends that are tried with each other: run_squad's


def token_classification(model: TokenModel, examples: Examples) -> Outcome:
    """The tag of each word: that of its first token. Words past the model's limit count as ``"O"``."""
    tokenizer, names = _tokenizer(model), labels_of(model)
    words = examples.columns["tokens"]
    given: list[list[str]] = []
    for batch in batches(words):
        encoded = tokenizer(
            [list(row) for row in batch],
            is_split_into_words=True,
            truncation=True,
            max_length=model.limit,
            padding=True,
            padding_side="right",  # which all models take alike: a row's answer must not depend on its neighbours
            return_tensors="np",
        )
        best = model.arrays(encoded)["logits"].argmax(-1)
        model.shortened += sum(bool(one.overflowing) for one in encoded.encodings)
        for row, tokens in enumerate(batch):
            tags = ["O"] * len(tokens)
            for token, word in reversed(list(enumerate(encoded.word_ids(row)))):  # the first token of a word wins
                if word is not None:
                    tags[word] = names[best[row, token]]
            given.append(tags)
    right = [
        [tag if isinstance(tag, str) else _name(tag, names, examples, model.name, row) for tag in tags]
        for row, tags in enumerate(examples.columns["tags"])
    ]
    return Outcome(examples.task, right, given, labels=names, clusters=examples.clusters)


def _name(tag: object, names: Sequence[str], examples: Examples, model: str, row: int) -> str:
    """What a tag's number stands for: in the data where it says so, which may have more tags than the model."""
    place = whole(tag)
    if place is not None and 0 <= place < len(examples.label_names):
        return examples.label_names[place]
    return names[positions([tag], names, model, row=row)[0]]


# ------------------------------------------------------------------------------------------------- questions


def question_answering(model: TokenModel, examples: Examples) -> Outcome:
    """The span of each context that starts and ends best, as HuggingFace's and Google's ``run_squad`` choose it.

    Where the data has questions without an answer, none is given when ``[CLS]`` scores higher than every span.
    """
    tokenizer = _tokenizer(model)
    may_be_empty = any(not answers for answers in examples.columns["answers"])
    given: list[str] = []
    longest = min(LONGEST_QUESTION, model.limit // 2)
    questions = [_cut(tokenizer, question.strip(), longest) for question in examples.columns["question"]]
    rows = list(zip(questions, examples.columns["context"], strict=True))
    room = model.limit - longest - tokenizer.num_special_tokens_to_add(pair=True)
    for batch in batches(rows):
        encoded = tokenizer(
            [question for question, _ in batch],
            [context for _, context in batch],
            truncation="only_second",
            max_length=model.limit,
            stride=min(STRIDE, room // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=True,
            padding_side="right",  # which all models take alike: a row's answer must not depend on its neighbours
            return_tensors="np",
        )
        owners, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
        arrays = model.arrays(encoded)
        for row, (_, context) in enumerate(batch):
            windows = np.flatnonzero(owners == row).tolist()
            best, none = (-np.inf, ""), np.inf
            for window in windows:
                starts, ends = arrays["start_logits"][window], arrays["end_logits"][window]
                first_token = int((encoded["input_ids"][window] == tokenizer.cls_token_id).argmax())
                none = min(none, float(starts[first_token] + ends[first_token]))
                inside = np.array([sequence == 1 for sequence in encoded.sequence_ids(window)])
                for score, first, last in _spans(starts, ends, inside):
                    if score > best[0]:
                        best = (score, context[offsets[window, first, 0] : offsets[window, last, 1]])
            given.append("" if may_be_empty and none > best[0] else best[1])
    return Outcome(examples.task, examples.columns["answers"], given, clusters=examples.clusters)


def _cut(tokenizer: Any, question: str, longest: int) -> str:
    """A question of so many tokens at most: there must be room for the context."""
    offsets = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return question if len(offsets) <= longest else question[: offsets[longest - 1][1]]


def _spans(starts: NDArray[Any], ends: NDArray[Any], inside: NDArray[np.bool_]) -> Iterator[tuple[float, int, int]]:
    """``(score, first token, last token)`` of the likeliest spans inside of the context."""
    places = np.flatnonzero(inside)
    firsts = places[np.argsort(-starts[places], kind="stable")[:BEST]].tolist()
    lasts = places[np.argsort(-ends[places], kind="stable")[:BEST]].tolist()
    for first in firsts:
        for last in lasts:
            if first <= last < first + LONGEST_ANSWER:
                yield float(starts[first] + ends[last]), first, last


# ------------------------------------------------------------------------------------------------- masked words


def fill_mask(model: TokenModel, examples: Examples) -> Outcome:
    """The rank that the model gives the right word, from 1, among all of its vocabulary.

    Raises:
        InputError: A mask is past the model's limit, or a word is no single token of this model.
    """
    tokenizer = _tokenizer(model)
    mask = tokenizer.mask_token
    if mask is None:
        raise UsageError(
            "The model's tokenizer has no token for a mask.",
            got=model.name,
            allowed="a model that was trained to fill masks",
            do="evaluate it for the task that it is for",
        )
    texts = [text.replace(MASK, mask) for text in examples.columns["text"]]
    words = enumerate(zip(texts, examples.columns["target"], strict=True))
    right = np.array([token_of(tokenizer, word, text.startswith(mask), row) for row, (text, word) in words], np.intp)
    ranks: list[int] = []
    for numbers in batches(range(len(texts))):
        batch = [texts[number] for number in numbers]
        encoded = tokenizer(
            batch, truncation=True, max_length=model.limit, padding=True, padding_side="right", return_tensors="np"
        )
        logits = model.arrays(encoded)["logits"]
        masked = encoded["input_ids"] == tokenizer.mask_token_id
        if (lost := np.flatnonzero(masked.sum(-1) != 1)).size:
            raise InputError(
                "The mask of these texts is past the model's limit.",
                got=f"rows {', '.join(str(numbers[row]) for row in lost[:8])}",
                allowed=f"a mask within {model.limit} tokens",
                do="drop these rows, or cut the texts around their mask",
            )
        scores = logits[np.arange(len(batch)), masked.argmax(-1)]
        own = scores[np.arange(len(batch)), right[list(numbers)]]
        ranks += (1 + (scores > own[:, None]).sum(-1)).tolist()
    return Outcome(examples.task, right, np.array(ranks, np.intp), clusters=examples.clusters)


def token_of(tokenizer: Any, word: str, first: bool, row: int) -> int:
    """The id of a word. Byte-level vocabularies hold one for it with the space before it, and one without.

    Args:
        tokenizer: HuggingFace's.
        word: The word.
        first: Whether it begins its text.
        row: Where it stands, for the error.

    Raises:
        InputError: It is no single token.
    """
    forms = (word, f" {word}") if first else (f" {word}", word)
    for form in forms:
        ids: list[int] = tokenizer(form, add_special_tokens=False)["input_ids"]
        if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
            return ids[0]
    raise InputError(
        "The word is no single token of this model.",
        got=f"row {row}: {word!r}",
        allowed="a word that the tokenizer does not split",
        do="drop this row, or take words that all the models know",
    )


# ------------------------------------------------------------------------------------------------- helpers


def _tokenizer(model: TokenModel) -> Any:
    tokenizer = model.processor("AutoTokenizer")
    if not tokenizer.is_fast:
        raise UsageError(
            "This model's tokenizer has no fast form, which tells where a token stands in its text.",
            got=f"{type(tokenizer).__name__} of {model.name}",
            allowed="a tokenizer with a fast form",
            do="evaluate it through transformers",
        )
    return tokenizer


def batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Rows, :data:`ROWS` at a time."""
    for start in range(0, len(rows), ROWS):
        yield rows[start : start + ROWS]
