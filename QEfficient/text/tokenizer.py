"""Strings → rows of ids and back, as transformers' fast tokenizers give them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as Normalizers

from QEfficient.arguments import listed, string, whole
from QEfficient.errors import InputError, LoadError
from QEfficient.records import Json, Rows, TextFacts
from QEfficient.text.decoders import token_bytes
from QEfficient.text.replacing import clean_up_spaces
from QEfficient.text.shortening import kept, sequences

Text: TypeAlias = str | tuple[str, str]
Overlong: TypeAlias = Literal["truncate", "error", "chunk"]
_OVERLONG = ("truncate", "error", "chunk")
_KEPT = 2**15  # longest array of one value that is kept for the next call
_ALONE = 256  # characters up to which one text takes less time here than on another thread
_BEFORE = "abcdef"  # a text of no special or added token
_SHOWN = 5  # rows that an error names one by one


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenised texts.

    Attributes:
        rows: ``input_ids``, ``attention_mask`` and ``token_type_ids``, unpadded.
        owners: With ``overlong="chunk"``, the text that each row belongs to; else ``None``, and row i is text i.
        overlong: Texts that were longer than the limit: shortened, or split into chunks.
    """

    rows: Rows
    owners: tuple[int, ...] | None = None
    overlong: tuple[int, ...] = ()


class Tokenizer:
    """A fast tokenizer with a model's facts. It never changes once it is made, so many threads may use it.

    Args:
        backend: The tokenizer; it is taken over, and its truncation and padding are cleared. The side at which texts
            are shortened is that of its truncation.
        facts: Limit, lower-casing and prompts.
    """

    def __init__(self, backend: FastTokenizer, facts: TextFacts) -> None:
        self._from_end = (backend.truncation or {}).get("direction") == "left"
        backend.no_truncation()
        backend.no_padding()
        if facts.lower_case:
            add_lower_case(backend)
        self.facts = facts
        self._backend = backend
        self._token_bytes: dict[int, bytes] = {}
        self._specials = {pair: backend.num_special_tokens_to_add(pair) for pair in (False, True)}

    @classmethod
    def from_folder(cls, folder: Path, facts: TextFacts) -> Tokenizer:
        """Reads the tokenizer that ``facts.tokenizer`` names in the folder.

        Raises:
            LoadError: There is none, or it can't be read.
        """
        if facts.tokenizer is None:
            raise LoadError(
                "This program takes ids only: its tokenizer has no form that works without transformers.",
                got=str(folder),
                allowed="generate() with the arrays that transformers.AutoTokenizer gives",
                do="tokenise with transformers and pass the result to generate()",
            )
        path = folder / facts.tokenizer
        try:
            backend = FastTokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception, for a missing file too
            raise LoadError(
                f"The tokenizer can't be read: {error}",
                got=str(path),
                allowed="a tokenizer.json of the tokenizers library",
                do="restore the file, or compile the model again",
            ) from error
        return cls(backend, facts)

    def encode(
        self,
        texts: Sequence[Text],
        *,
        prompt: str = "",
        max_length: int | None = None,
        overlong: Overlong = "truncate",
        first: int = 0,
    ) -> Tokens:
        """Tokenises texts; each row has its own length.

        Args:
            texts: Strings, or pairs of strings.
            prompt: Put before each string; before the first one of a pair.
            max_length: Tokens a row may have, special tokens included; the model's own limit when left out.
            overlong: What happens to a longer text. ``"truncate"`` shortens it as transformers does (of a pair, the
                longer text first; at the side that the tokenizer names), ``"error"`` refuses it, ``"chunk"`` makes as
                many rows of it as it takes.
            first: What an error calls the first text, where these are a part of more.

        Raises:
            InputError: An item is no text, a text is too long or gives no token, or an argument is out of range.
        """
        items = _checked_texts(texts, prompt, first)
        limit = self._limit(max_length, items, overlong)
        encodings = self._encode_batch(items, first)
        lengths = list(map(len, encodings))
        if 0 in lengths:
            raise _empty(items, lengths, first)
        long = tuple([i for i, length in enumerate(lengths) if length > limit])
        if long and overlong == "error":
            raise _too_long(long, lengths, limit, first)
        arrays = _arrays(encodings, lengths)
        if overlong == "chunk":
            return _chunked(encodings, arrays, set(long), limit)
        for i in long:
            keep = kept(encodings[i], limit, from_end=self._from_end)
            arrays[i] = (arrays[i][0][keep], arrays[i][1][keep])
        return Tokens(_rows(arrays), overlong=long)

    def ids(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The ids of one text, however long.

        A chat that is written already (:meth:`QEfficient.text.chat.ChatTemplate.render`) has its special tokens in it:
        transformers encodes it with ``add_special_tokens=False``, so that it never begins with two.

        Args:
            text: The text.
            add_special_tokens: Add those that the tokenizer puts around a text.

        Raises:
            InputError: It is no string, or not valid Unicode.
        """
        return list(self.encoding(text, add_special_tokens=add_special_tokens).ids)

    def encoding(self, text: str, *, add_special_tokens: bool = True) -> Encoding:
        """All that the tokenizers library says of one text: ids, and the pieces that they stand for.

        Args:
            text: As :meth:`ids` takes it.
            add_special_tokens: Likewise.

        Raises:
            InputError: It is no string, or not valid Unicode.
        """
        string(0, text)
        try:
            return self._backend.encode(text, add_special_tokens=add_special_tokens)
        except TypeError as error:
            raise _not_unicode(0, text) or error from error

    def decode(
        self,
        ids: Iterable[int],
        *,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """The text of ids, as transformers' ``decode`` gives it.

        Args:
            ids: Ids; one that has no token is left out.
            skip_special_tokens: Leave special tokens out of the text.
            clean_up_tokenization_spaces: Take away spaces before punctuation and clitics; as the repo says when left
                out. Of BPE none is taken away: they belong to the text.

        Raises:
            InputError: An id is no whole number from 0 on.
        """
        listed_ids = list(ids)
        try:
            text: str = self._backend.decode(listed_ids, skip_special_tokens=skip_special_tokens)
        except (OverflowError, TypeError) as error:
            raise InputError(
                "These ids can't be decoded.",
                got=f"{listed_ids!r:.200}",
                allowed="whole numbers from 0 to 4294967295",
                do="leave out what marks padding or masked labels, such as -100",
            ) from error
        return clean_up_spaces(text) if self.cleans_up(clean_up_tokenization_spaces) else text

    def cleans_up(self, clean_up_tokenization_spaces: bool | None = None) -> bool:
        """True when :meth:`decode`, called with this argument, takes spaces away."""
        wanted = self.facts.clean_up_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return bool(wanted) and type(self._backend.model).__name__ != "BPE"

    @cached_property
    def special_tokens(self) -> frozenset[str]:
        """The tokens that ``skip_special_tokens`` leaves out."""
        added = self._backend.get_added_tokens_decoder().values()
        return frozenset([token.content for token in added if token.special])

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Their ids."""
        added = self._backend.get_added_tokens_decoder().items()
        return frozenset([token_id for token_id, token in added if token.special])

    @cached_property
    def decoder(self) -> dict[str, Json] | None:
        """What makes text of tokens, as ``tokenizer.json`` has it; ``None``: tokens with a space between them."""
        decoder = self._backend.decoder
        return None if decoder is None else json.loads(decoder.__getstate__())

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for within a text, its own space with it; nothing for an id that has no token.

        A token of byte-level BPE or for one byte may be a part of a character.
        """
        found = self._token_bytes.get(token_id)
        if found is None:
            token = self.token(token_id)
            found = self._token_bytes[token_id] = b"" if token is None else self._bytes_of(token)
        return found

    def _bytes_of(self, token: str) -> bytes:
        data = token_bytes(token, self.decoder)
        if data is not None:
            return data
        # behind other tokens, because decoders change the first token of a text: as transformers does
        before = self._backend.encode(_BEFORE, add_special_tokens=False).tokens
        return self._written([*before, token])[len(self._written(before)) :].encode()

    def _written(self, tokens: list[str]) -> str:
        decoder = self._backend.decoder
        return " ".join(tokens) if decoder is None else decoder.decode(tokens)

    def prompt_length(self, prompt: str, *, max_length: int | None = None) -> int:
        """Tokens at the start of a row that belong to the prompt, as sentence-transformers counts them.

        They are the prompt's own tokens, special ones included, without a special token at the end.

        Args:
            prompt: The prompt.
            max_length: Tokens after which a row is cut, as :meth:`encode` takes it.
        """
        encoding = self._backend.encode(prompt)
        added = encoding.special_tokens_mask[-1:] == [1]  # by the tokenizer; else it may stand in the prompt itself
        ends_special = bool(encoding.ids) and (added or self._is_special(encoding.ids[-1]))
        return min(len(encoding), max_length or self.facts.max_length) - ends_special

    @property
    def size(self) -> int:
        """Every id that it can give is below this."""
        return 1 + max(self._backend.get_vocab(with_added_tokens=True).values(), default=-1)

    def token(self, token_id: int) -> str | None:
        """The token of an id; ``None`` where there is none."""
        found: str | None = self._backend.id_to_token(token_id)
        return found

    def id_of(self, token: str) -> int | None:
        """The id of a token; ``None`` where there is none."""
        found: int | None = self._backend.token_to_id(token)
        return found

    def _is_special(self, token_id: int) -> bool:
        return token_id in self.special_ids

    def _limit(self, max_length: int | None, items: Sequence[Any], overlong: str) -> int:
        """The checked limit of this call."""
        pairs = any([not isinstance(item, str) for item in items])
        if overlong not in _OVERLONG or (pairs and overlong == "chunk"):
            raise InputError(
                f"overlong={overlong!r} can't be used with {'pairs of texts' if overlong in _OVERLONG else 'encode'}.",
                got=overlong,
                allowed="'truncate' or 'error'" if pairs else "'truncate', 'error' or 'chunk'",
                do="pass one of these",
            )
        limit = self.facts.max_length if max_length is None else max_length
        least = self._specials[pairs] + 1
        number = limit if type(limit) is int else whole(limit)
        if number is None or not least <= number <= self.facts.max_length:
            raise InputError(
                "max_length does not fit the model.",
                got=limit,
                allowed=f"{least} (the special tokens and one more) to {self.facts.max_length}, the model's own limit",
                do="leave max_length out to use the model's own limit",
            )
        return number

    def _encode_batch(self, items: Sequence[Any], first: int) -> list[Encoding]:
        try:
            if len(items) == 1 and isinstance(items[0], str) and len(items[0]) <= _ALONE:
                return [self._backend.encode(items[0])]  # on this thread; a batch goes over the tokenizer's own
            # The fast form leaves offsets out, which nothing here needs.
            return self._backend.encode_batch_fast(items)
        except TypeError as error:  # a string that is not valid Unicode
            for i, item in enumerate(items):
                if refusal := _not_unicode(first + i, item):
                    raise refusal from error
            raise


def _not_unicode(row: int, item: Text) -> InputError | None:
    """The error of a text that can't be encoded in UTF-8."""
    try:
        "".join(item).encode("utf-8")
    except UnicodeEncodeError:
        return InputError(
            f"Text {row} is not valid Unicode: it holds half of a surrogate pair.",
            got=f"{item!a:.80}",
            allowed="strings that can be encoded in UTF-8",
            do="repair the text: text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')",
        )
    return None


def add_lower_case(backend: FastTokenizer) -> None:
    """Lower-cases first, unless the tokenizer does: as sentence-transformers 6.2. Special tokens keep their case."""
    normalizer = backend.normalizer
    steps: list[Any] = [] if normalizer is None else [normalizer]
    if isinstance(normalizer, Normalizers):
        steps = [normalizer[i] for i in range(len(normalizer))]
    if not any(isinstance(step, Lowercase) for step in steps):
        backend.normalizer = Normalizers([Lowercase(), *steps])


def _checked_texts(texts: Sequence[Text], prompt: str, first: int) -> list[Any]:
    """The texts with the prompt put before them."""
    if not isinstance(prompt, str):
        raise InputError("prompt is not a string.", got=repr(prompt), allowed="a string", do="pass the prompt's text")
    items: list[Any] = []
    for i, text in enumerate(texts if type(texts) is list else listed("texts", texts)):
        if isinstance(text, str):
            items.append(prompt + text if prompt else text)
        elif isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(part, str) for part in text):
            items.append((prompt + text[0], text[1]))
        else:
            raise InputError(
                f"Item {first + i} of texts is not a text.",
                got=f"{text!r:.80} ({type(text).__name__})",
                allowed="a string, or a pair of two strings",
                do="replace or drop this item",
            )
    return items


def _empty(items: Sequence[Any], lengths: Sequence[int], first: int) -> InputError:
    empty = [i for i, length in enumerate(lengths) if length == 0]
    return InputError(
        f"{len(empty)} of {len(items)} texts give no token: {_numbers(empty, first)}.",
        got=items[empty[0]],
        allowed="texts of at least one token; this tokenizer adds no special tokens",
        do="drop these texts; they have no vector",
    )


def _too_long(long: Sequence[int], lengths: Sequence[int], limit: int, first: int) -> InputError:
    named = ", ".join(f"text {first + i} has {lengths[i]} tokens" for i in long[:_SHOWN])
    return InputError(
        f"{len(long)} of {len(lengths)} texts are longer than {limit} tokens.",
        got=named + (", …" if len(long) > _SHOWN else ""),
        allowed=f"at most {limit} tokens, special tokens included",
        do="shorten these texts, or pass overlong='truncate' or overlong='chunk'",
    )


def _numbers(rows: Sequence[int], first: int) -> str:
    return "text " + ", ".join(str(first + row) for row in rows[:_SHOWN]) + (", …" if len(rows) > _SHOWN else "")


def _arrays(encodings: Sequence[Encoding], lengths: Sequence[int]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Ids and token types of each text. The types of most texts are all 0, and then they share one array."""
    zeros = _constant(0, max(lengths, default=0))
    arrays = []
    for encoding, length in zip(encodings, lengths, strict=True):
        types = encoding.type_ids
        found = np.array(types, dtype=np.int64) if any(types) else zeros[:length]
        arrays.append((np.array(encoding.ids, dtype=np.int64), found))
    return arrays


def _rows(arrays: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Rows:
    ids = [row for row, _ in arrays]
    lengths = tuple(map(len, ids))
    width = max(lengths, default=0)
    ones = _constant(1, width)
    columns = {
        "input_ids": ids,
        "attention_mask": [ones[:length] for length in lengths],
        "token_type_ids": [types for _, types in arrays],
    }
    return Rows(columns, width=width, lengths=lengths)


def _constant(value: int, length: int) -> NDArray[np.int64]:
    """At least so many times the value, for rows to share; nobody can write to it."""
    size = 1 << max(0, length - 1).bit_length()
    return _kept_constant(value, size) if size <= _KEPT else _new_constant(value, size)


def _new_constant(value: int, length: int) -> NDArray[np.int64]:
    array = np.full(length, value, dtype=np.int64)
    array.flags.writeable = False
    return array


_kept_constant = cache(_new_constant)


def _chunked(
    encodings: Sequence[Encoding],
    arrays: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
    long: set[int],
    limit: int,
) -> Tokens:
    """Splits long rows into consecutive windows, each with the special tokens of its own."""
    rows: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    owners: list[int] = []
    for i, (ids, types) in enumerate(arrays):
        if i not in long:
            rows.append((ids, types))
            owners.append(i)
            continue
        parts = sequences(encodings[i])
        special, own = np.flatnonzero(parts < 0), np.flatnonzero(parts == 0)
        room = limit - len(special)
        for start in range(0, len(own), room):
            keep = np.sort(np.concatenate([special, own[start : start + room]]))
            rows.append((ids[keep], types[keep]))
            owners.append(i)
    return Tokens(_rows(rows), owners=tuple(owners), overlong=tuple(sorted(long)))
