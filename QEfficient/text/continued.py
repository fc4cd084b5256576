"""A chat whose last message stays open: it is marked before it is rendered, and the prompt ends at the mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from QEfficient.errors import InputError

# The mark that transformers uses: templates that look at a message's last characters see the same ones.
_MARK = "CONTINUE_FINAL_MESSAGE_TAG "


def marked(chat: list[dict[str, Any]], field: str, template: str, reasoning: Sequence[str]) -> str:
    """Marks the end of the last message, and gives the text that goes on.

    Args:
        chat: The messages; the last one is changed.
        field: Which field of it goes on.
        template: The template's text, which has to know the field.
        reasoning: Names that stand for one field, reasoning.

    Raises:
        InputError: The message has no such field, the template does not know it, or it has no text.
    """
    message = chat[-1]
    value = message.get(field)
    if value is None:
        raise _refused(f"the last message has no {field!r}", message)
    fields = [name for name in reasoning if message.get(name) == value] if field in reasoning else [field]
    if not any(name in template for name in fields):
        raise _refused(f"the chat template does not know the field {field!r}", message)
    if isinstance(value, list | tuple):
        for part in reversed(value):
            if isinstance(part, dict) and isinstance(text := part.get("text"), str):
                part["text"] = text + _MARK
                return text
        raise _refused(f"there is no text in {field!r} of the last message", message)
    if not isinstance(value, str):
        raise _refused(f"{field!r} of the last message is no text", message)
    for name in fields:
        message[name] = value + _MARK
    return value


def up_to_mark(text: str, final: str) -> str:
    """The rendered chat up to the mark; without trailing spaces where the template takes them away.

    Raises:
        InputError: The template does not write the last message as it is.
    """
    mark = _MARK.strip()
    if final.strip() not in text or mark not in text:
        raise InputError(
            "The last message can't go on: the chat template does not write it as it is.",
            got=f"{final.strip()!r:.120}",
            allowed="a template that writes the last message whole",
            do="leave continue_final_message out, or pass another template as chat_template=",
        )
    start = text.rindex(mark)
    return text[:start] if text.startswith(_MARK, start) else text[:start].rstrip()


def _refused(why: str, message: dict[str, Any]) -> InputError:
    return InputError(
        f"The last message can't go on: {why}.",
        got=f"{message!r:.120}",
        allowed="a last message with text in a field that the chat template writes",
        do="correct continue_final_message or the last message",
    )
