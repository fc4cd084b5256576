"""Texts and conversations in, texts out: what ``chat``, ``stream`` and ``perplexity`` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from QEfficient import arguments
from QEfficient.errors import InputError, UsageError
from QEfficient.generation.answer_stream import AnswerStream
from QEfficient.generation.call import Call, read_call
from QEfficient.generation.conversation import (
    Template,
    check_messages,
    check_template,
    is_messages,
    rendered_by,
    rendered_by_program,
)
from QEfficient.generation.forms import check_tokenizer, devices_of
from QEfficient.generation.from_prompts import text_of
from QEfficient.generation.id_rows import check_prompts
from QEfficient.generation.program_parts import WritesText, repo, tokenizer_of, vocabulary
from QEfficient.generation.running_calls import run


class TextCall:
    """One call of ``chat`` or ``stream``.

    Args:
        loaded: The program.
        template: How conversations are rendered.
        keywords: The caller's: ``tokenizer``, ``device_id``, ``device_ids``, and those that say how tokens are chosen.

    Raises:
        UsageError: One does not fit.
    """

    def __init__(self, loaded: WritesText, template: Template, keywords: Mapping[str, Any]) -> None:
        left = dict(keywords)
        for name in ("streamer", "prompts", "input_ids", "attention_mask"):
            if left.pop(name, None) is not None:
                raise UsageError(
                    f"{name} is of generate.", got=f"{name}=…", allowed="the text as first argument", do=f"drop {name}"
                )
        check_template(template)
        self._loaded, self._template = loaded, template
        self._devices = devices_of(left)
        self._callers = check_tokenizer(left.pop("tokenizer", None))
        self._tokenizer = tokenizer_of(loaded, self._callers)
        self._call: Call = read_call(left, repo(loaded), self._tokenizer)

    def chat(self, messages: Any) -> str | list[str]:
        """The answer to one conversation, or to each of a list of them."""
        one = not isinstance(messages, (list, tuple)) or not messages or not isinstance(messages[0], (list, tuple))
        many = [messages] if one else list(messages)
        if self._call.settings.num_return_sequences > 1:
            raise UsageError(
                "chat gives one answer to a conversation.",
                got=f"num_return_sequences={self._call.settings.num_return_sequences}",
                allowed="1",
                do="call it several times, or use generate",
            )
        prompts = [
            self._rendered(check_messages(each, "messages" if one else f"messages[{row}]"))
            for row, each in enumerate(many)
        ]
        requests = self._call.requests(prompts, self._loaded.facts, vocabulary(self._loaded))
        ran = run(self._loaded.engine(self._devices), requests)
        texts = [text_of(answers[0], self._call, self._tokenizer) for answers in ran.answers]
        return texts[0] if one else texts

    def stream(self, prompt: Any) -> AnswerStream:
        """The answer to a prompt or a conversation, as it is written."""
        if isinstance(prompt, str):
            [ids] = self._tokenizer.ids([prompt])
            check_prompts([ids], vocabulary(self._loaded))
        elif is_messages(prompt):
            ids = self._rendered(check_messages(prompt))
        else:
            raise InputError(
                "stream takes one prompt or one conversation.",
                got=f"{type(prompt).__name__}: {prompt!r:.60}",
                allowed='a string, or a list of messages, [{"role": "user", "content": …}]',
                do="call stream once for each; they run beside each other",
            )
        return AnswerStream(self._loaded.engine(self._devices), self._call, ids, self._loaded, self._tokenizer)

    def _rendered(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if self._callers is not None:
            return rendered_by(self._callers, messages, self._template)
        return rendered_by_program(self._loaded, messages, self._template)


def text_ids(loaded: WritesText, texts: Any, callers: Any) -> list[list[int]]:
    """Tokens of texts, by the caller's tokenizer or the program's.

    Raises:
        InputError: There is no text, or one is no string.
    """
    found = [texts] if isinstance(texts, str) else arguments.strings("texts", texts)
    if not found:
        raise InputError("There is no text.", got="an empty list", allowed="one or more", do="pass a text")
    ids = tokenizer_of(loaded, check_tokenizer(callers)).ids(found)
    check_prompts(ids, vocabulary(loaded))
    return ids
