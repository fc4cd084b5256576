"""Rows → what a language model is trained on: token ids, and as labels those of them that it is to write."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, UsageError
from QEfficient.train.labelled import IGNORED, Feature
from QEfficient.train.language_rows import COMPLETION

if TYPE_CHECKING:
    from QEfficient.evaluate.record import Examples

log = logging.getLogger("QEfficient")

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""What stands before the assistant's part in a chat template that says which part that is."""


@dataclass(frozen=True, slots=True)
class LanguageReader:
    """What makes features of rows.

    Attributes:
        tokenizer: HuggingFace's, with an end-of-sequence token.
        max_length: Tokens that a row can have; ``None``: as many as there are.
        prefix: Of a sequence-to-sequence model: what stands before every source.
    """

    tokenizer: Any
    max_length: int | None
    prefix: str = ""

    def causal(self, examples: Examples, where: str) -> list[Feature]:
        """Features for a model that writes on: ``input_ids``, and ``labels``, which are -100 for what is given.

        - texts: all tokens count, with an end-of-sequence token behind them. One that is longer than ``max_length``
          becomes several rows, each of which begins with the last token of the one before: every token is written once.
          Texts are not packed into one row: they would see each other.
        - prompt and completion: they are tokenised apart, as they are when the model is asked, and joined as they are;
          a completion that goes on with a word begins with its space. The completion counts, and the end-of-sequence
          token behind it; what goes beyond ``max_length`` is cut off.
        - chats: as the tokenizer's chat template renders them, cut likewise; what the assistant says counts.

        Args:
            examples: The rows.
            where: What an error calls them.

        Raises:
            InputError: Nothing of a row counts within ``max_length``.
            UsageError: The chat template is missing, or does not say which part is the assistant's.
        """
        columns = examples.columns
        if "messages" in columns:
            made = [self._chat(chat, row, where) for row, chat in enumerate(columns["messages"])]
        elif set(COMPLETION) <= columns.keys():
            made = [self._completion(*pair) for pair in zip(columns["prompt"], columns["completion"], strict=True)]
        else:
            return [part for row, text in enumerate(columns["text"]) for part in self._parts(text, row, where)]
        return self._cut(made, where)

    def seq2seq(self, examples: Examples, where: str) -> list[Feature]:
        """Features for a model that reads a source and writes a target: ``input_ids``, and ``labels``.

        Each is cut to ``max_length``. The tokenizer's own special tokens are around them; where they do not end a
        target, its end-of-sequence token does.

        Args:
            examples: The rows.
            where: What an error calls them.

        Raises:
            InputError: A target has no tokens.
        """
        cut = {"truncation": self.max_length is not None, "max_length": self.max_length}
        sources = self.tokenizer([self.prefix + source for source in examples.columns["source"]], **cut)["input_ids"]
        targets = self.tokenizer(text_target=list(examples.columns["target"]), **cut)["input_ids"]
        end = self.tokenizer.eos_token_id
        made = []
        for source, target in zip(sources, targets, strict=True):
            labels = target if end in target else [*target, end][: self.max_length]
            made.append({"input_ids": source or [end], "labels": labels})
        names = ("eos", "bos", "pad", "cls", "sep")
        around = {getattr(self.tokenizer, f"{name}_token_id") for name in names}
        if lost := [row for row, one in enumerate(made) if around.issuperset(one["labels"])]:
            raise _empty("target", lost[0], where)
        return made

    def _parts(self, text: str, row: int, where: str) -> list[Feature]:
        ids = [*self._begun(text), self.tokenizer.eos_token_id]
        if len(ids) < 2:
            raise _empty("text", row, where)
        step = len(ids) if self.max_length is None else self.max_length - 1
        parts = [ids[start : start + step + 1] for start in range(0, len(ids) - 1, step)]
        return [{"input_ids": part, "labels": [IGNORED, *part[1:]]} for part in parts]

    def _completion(self, prompt: str, completion: str) -> Feature:
        given = self._begun(prompt)
        written = [*self.tokenizer(completion, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]
        return {"input_ids": given + written, "labels": [IGNORED] * len(given) + written}

    def _begun(self, text: str) -> list[int]:
        """With what the tokenizer puts before a text, and without the end that it may put behind it."""
        ids: list[int] = self.tokenizer(text)["input_ids"]
        return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids

    def _chat(self, chat: Sequence[dict[str, str]], row: int, where: str) -> Feature:
        from jinja2 import TemplateError

        try:
            read = self.tokenizer.apply_chat_template(
                chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
        except TemplateError as error:
            raise InputError(
                f"The chat template refuses a chat of the {where} rows.",
                got=f"row {row}: {error}",
                allowed="roles in the order that the template asks for",
                do="bring the chat to this order, or drop it",
            ) from error
        ids, mask = read["input_ids"], read["assistant_masks"]
        return {"input_ids": ids, "labels": [one if counts else IGNORED for one, counts in zip(ids, mask, strict=True)]}

    def _cut(self, features: list[Feature], where: str) -> list[Feature]:
        """Each within ``max_length``, with something left in it that counts."""
        long = [row for row, one in enumerate(features) if self.max_length and len(one["input_ids"]) > self.max_length]
        if long:
            log.info(
                "%d of %d %s rows are longer than %d tokens and are cut",
                len(long),
                len(features),
                where,
                self.max_length,
            )
        made = [{name: list(ids)[: self.max_length] for name, ids in one.items()} for one in features]
        for row, one in enumerate(made):
            one["labels"][0] = IGNORED  # nothing stands before it, so it is never written
            if all(label == IGNORED for label in one["labels"]):
                length = len(features[row]["input_ids"])
                raise InputError(
                    f"Nothing that the model is to write is left of a row of the {where} rows.",
                    got=f"row {row}, of whose {length} tokens the first {len(one['labels'])} are taken: all are given",
                    allowed="rows of which a token that counts stands within max_length",
                    do="shorten what is given, pass a larger max_length if the model has room, or drop the row",
                )
        return made


def _empty(role: str, row: int, where: str) -> InputError:
    return InputError(
        f"A {role} of the {where} rows has no tokens.",
        got=f"row {row}",
        allowed="texts of one token or more",
        do="drop this row",
    )


def check_chat_template(tokenizer: Any) -> None:
    """Refuses a tokenizer that can't say which tokens of a chat are the assistant's.

    Raises:
        UsageError: It has no chat template, or one without ``{% generation %}``, or it is a slow one.
    """
    if not tokenizer.chat_template:
        raise UsageError(
            "The tokenizer has no chat template.",
            got=type(tokenizer).__name__,
            allowed="a tokenizer with chat_template set",
            do="set tokenizer.chat_template, or pass rows with prompt and completion",
        )
    if not _GENERATION.search(tokenizer.get_chat_template()) or not tokenizer.is_fast:
        raise UsageError(
            "It can't be told which tokens of a chat are the assistant's.",
            got="a slow tokenizer" if not tokenizer.is_fast else "a chat template without {% generation %}",
            allowed="a fast tokenizer, and {% generation %} … {% endgeneration %} around what the assistant says",
            do="set such a template as tokenizer.chat_template, or pass rows with prompt and completion",
        )


def language_collator(
    padding: int, shifted: Callable[[Any], Any] | None = None
) -> Callable[[Sequence[Feature]], Feature]:
    """What makes a batch of features, filled up on the right: positions of tokens are counted from the left.

    Args:
        padding: The token that fills up; it is masked, and no label.
        shifted: Labels → the decoder's input; ``None`` for a model without an encoder.
    """
    import torch

    def filled(rows: Sequence[Sequence[int]], value: int) -> Any:
        width = max(map(len, rows))
        return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])

    def collate(features: Sequence[Feature]) -> Feature:
        ids = [feature["input_ids"] for feature in features]
        batch = {
            "input_ids": filled(ids, padding),
            "attention_mask": filled([[1] * len(row) for row in ids], 0),
            "labels": filled([feature["labels"] for feature in features], IGNORED),
        }
        if shifted is not None:
            batch["decoder_input_ids"] = shifted(batch["labels"])
        return batch

    return collate
