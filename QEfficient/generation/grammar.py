"""Answers that follow a grammar: JSON of a schema, a regular expression, or a Lark grammar, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import one_of
from QEfficient.errors import InputError, MissingExtraError
from QEfficient.text.tokenizer import Tokenizer

GrammarKind = Literal["json_schema", "regex", "lark"]
_KINDS = ("json_schema", "regex", "lark")
# llguidance allows any amount; a model that is unsure may then write spaces until its length is used up.
_SPACED = {"whitespace_pattern": r"[ \n\r\t]{0,24}"}
_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}


class GrammarVocabulary:
    """A tokenizer as llguidance needs it, made once and used by any number of requests.

    Args:
        tokenizer: What makes the ids.
        vocabulary: Tokens that the logits are of; those beyond the tokenizer's own are never allowed.
        end_tokens: The tokens that end an answer; allowed where the grammar may end.

    Raises:
        MissingExtraError: llguidance is not installed.
        InputError: There is no end token, or one that is not in the vocabulary.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, end_tokens: Sequence[int]) -> None:
        self._library = _library()
        ends = list(end_tokens)
        if not ends or not all(0 <= token < vocabulary for token in ends):
            raise InputError(
                "A grammar needs an end token, which the model writes where the grammar ends.",
                got=f"end tokens {ends}",
                allowed=f"at least one id, each from 0 to {vocabulary - 1}",
                do="pass eos_token_id=",
            )
        self.vocabulary = vocabulary
        words = _Words(tokenizer, vocabulary, ends)
        self._tokenizer = self._library.LLTokenizer(
            self._library.TokenizerWrapper(words), n_vocab=vocabulary, eos_token=ends
        )

    def mask(
        self, kind: GrammarKind, grammar: str | Mapping[str, Any], *, prompt: int = 0, compact: bool = False
    ) -> GrammarMask:
        """The hook of one request.

        Args:
            kind: ``"json_schema"``, ``"regex"`` or ``"lark"``.
            grammar: The schema, as text or as a dict; the expression; or the grammar, in llguidance's Lark.
            prompt: Tokens of the prompt, which the hook's ids begin with.
            compact: JSON of a schema without any blanks between its parts; else there may be up to 24 at a place.

        Raises:
            InputError: It is no such grammar; llguidance's own message is in the error's.
        """
        one_of("kind", kind, _KINDS)
        matcher = self._library.LLMatcher
        if kind == "json_schema":
            text = grammar if isinstance(grammar, str) else json.dumps(grammar)
            try:
                source = matcher.grammar_from_json_schema(text, overrides=_COMPACT if compact else _SPACED)
            except ValueError as error:
                raise _refused(kind, grammar, str(error)) from error
        elif not isinstance(grammar, str):
            raise _refused(kind, grammar, "it is no string")
        else:
            source = matcher.grammar_from_regex(grammar) if kind == "regex" else matcher.grammar_from_lark(grammar)
        made = matcher(self._tokenizer, source, log_level=0)
        if made.is_error():
            raise _refused(kind, grammar, _reason(made))
        return GrammarMask(made, self.vocabulary, prompt)


class GrammarMask:
    """Leaves a row of logits only the tokens with which the answer can still follow the grammar.

    A hook as the sampler takes it: ids so far, the prompt's with them, and a row of logits → the row. Where the ids do
    not go on from those of the call before, as with beams, the grammar goes back to what both have in common.

    Args:
        matcher: llguidance's, at its start.
        vocabulary: Tokens that the logits are of.
        prompt: Tokens of the prompt.
    """

    def __init__(self, matcher: Any, vocabulary: int, prompt: int) -> None:
        self._start, self._matcher = matcher, matcher.deep_copy()
        self._prompt = prompt
        self._taken: list[int] = []
        self._mask = np.zeros((vocabulary + 31) // 32, np.int32)

    def __call__(self, ids: Sequence[int] | NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The row, −inf for tokens that the grammar does not allow here. ``logits`` stays as it is.

        Raises:
            InputError: The answer so far does not follow the grammar, or nothing can follow it.
        """
        self._go_to([int(token) for token in ids[self._prompt :]])
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        allowed = np.unpackbits(self._mask.view(np.uint8), count=len(logits), bitorder="little").view(np.bool_)
        return cast(NDArray[np.float32], np.where(allowed, logits, np.float32(-np.inf)))

    @property
    def complete(self) -> bool:
        """True when the answer, as of the last call, may end."""
        return bool(self._matcher.is_accepting())

    def _go_to(self, answer: list[int]) -> None:
        same = 0
        for ours, theirs in zip(self._taken, answer, strict=False):
            if ours != theirs:
                break
            same += 1
        if same < len(self._taken) and self._matcher.is_stopped():  # from the end token llguidance finds no way back
            self._matcher, same = self._start.deep_copy(), 0
        elif same < len(self._taken):
            self._matcher.rollback(len(self._taken) - same)
        for token in answer[same:]:
            self._matcher.consume_token(token)
        self._taken = answer
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise InputError(
                f"The answer does not follow the grammar: {_reason(self._matcher)}",
                got=f"tokens {self._taken[-8:]}",
                allowed="tokens that the grammar's mask allows",
                do="leave out what else changes logits behind the mask, such as forced tokens",
            )


class _Words:
    """The vocabulary as llguidance's ``TokenizerWrapper`` reads it; an id without a token has no bytes."""

    def __init__(self, tokenizer: Tokenizer, size: int, ends: Sequence[int]) -> None:
        self.eos_token_id = ends[0]
        self.bos_token_id = None
        self.tokens = [tokenizer.token_bytes(token) for token in range(size)]
        self.special_token_ids = sorted(token for token in {*tokenizer.special_ids, *ends} if token < size)
        special = set(self.special_token_ids)
        self._ids = {word: token for token, word in enumerate(self.tokens) if word and token not in special}
        self._longest = max(map(len, self._ids), default=1)
        self._tokenizer = tokenizer

    def __call__(self, text: bytes | str) -> list[int]:
        """Tokens that stand for these bytes exactly: the tokenizer's own, unless it adds a space or changes letters."""
        data = text.encode() if isinstance(text, str) else text
        own = self._tokenizer.ids(data.decode(errors="ignore"), add_special_tokens=False)
        if b"".join(map(self._tokenizer.token_bytes, own)) == data and max(own, default=0) < len(self.tokens):
            return own
        found, start = list[int](), 0
        while start < len(data):
            ends = range(min(start + self._longest, len(data)), start, -1)
            end = next((end for end in ends if data[start:end] in self._ids), None)
            if end is None:  # no token begins so
                break
            found.append(self._ids[data[start:end]])
            start = end
        return found


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise MissingExtraError(
            "Grammars need the package llguidance.",
            got=str(error),
            allowed="llguidance 1.9 or later",
            do='pip install "QEfficient[grammar]"',
        ) from error
    return llguidance


def _reason(matcher: Any) -> str:
    """What llguidance says, without the parser's state and the grammar behind it."""
    return str(matcher.get_error()).partition("<state>")[0].strip()


def _refused(kind: str, grammar: object, why: str) -> InputError:
    return InputError(
        f"This is no {kind} that answers can follow: {why.strip()}",
        got=f"{grammar!r:.120}",
        allowed="a JSON schema, a regular expression or a Lark grammar, as llguidance reads them",
        do="correct the grammar",
    )
