"""Messages → the tokens of a prompt, through the chat template of the program or of the caller's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from QEfficient.errors import InputError, UsageError
from QEfficient.generation.program_parts import WritesText
from QEfficient.text.chat import ChatTemplate

Messages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Template:
    """How messages are rendered; as ``apply_chat_template`` of transformers takes it.

    Attributes:
        tools: Functions that the model may call: JSON schemas.
        documents: Texts to answer from.
        continue_final_message: Go on with the last message instead of beginning another.
        more: What else the template knows (``{"enable_thinking": False}``).
    """

    tools: Sequence[Any] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    continue_final_message: bool | str = False
    more: Mapping[str, Any] | None = None


def is_messages(value: object) -> bool:
    """Whether a value is one conversation: a list of mappings."""
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], Mapping)


def check_messages(value: Any, what: str = "messages") -> Messages:
    """One conversation, each message with a role.

    Raises:
        InputError: It is none; the message names the row.
    """
    if isinstance(value, str):
        raise InputError(
            f"{what} is a string.",
            got=f"{value!r:.60}",
            allowed='a list of messages, [{"role": "user", "content": …}]',
            do="wrap it, or use stream or generate for a bare prompt",
        )
    if not isinstance(value, (list, tuple)) or not value:
        raise InputError(
            f"{what} is no list of messages.",
            got=f"{type(value).__name__}: {value!r:.60}",
            allowed='a list of messages, [{"role": "user", "content": …}], not empty',
            do="pass such a list",
        )
    for row, message in enumerate(value):
        if isinstance(message, str) or (isinstance(message, Mapping) and not isinstance(message.get("role"), str)):
            raise InputError(
                f"Message {row} of {what} has no role.",
                got=f"{message!r:.60}",
                allowed='{"role": "user", "content": …}',
                do="give each message a role",
            )
    return value


def check_template(template: Template) -> None:
    """Refuses what no template can be given.

    Raises:
        UsageError: One of its values is of another kind.
    """
    if not isinstance(template.continue_final_message, (bool, str)):
        raise UsageError(
            "continue_final_message is no bool.",
            got=repr(template.continue_final_message),
            allowed="True, False, or the name of the field that goes on",
            do="pass one of these",
        )
    for name in ("tools", "documents"):
        value = getattr(template, name)
        if value is not None and not isinstance(value, (list, tuple)):
            raise UsageError(
                f"{name} is no list.", got=f"{type(value).__name__}", allowed="a list, or None", do=f"put {name} in one"
            )
    if template.more is not None and not isinstance(template.more, Mapping):
        raise UsageError(
            "template_kwargs is no mapping.",
            got=f"{type(template.more).__name__}",
            allowed='a dict such as {"enable_thinking": False}',
            do="pass a dict",
        )


def rendered_by(tokenizer: Any, messages: Messages, template: Template) -> list[int]:
    """Tokens of a conversation by a caller's tokenizer.

    Raises:
        UsageError: It has no ``apply_chat_template``.
    """
    apply = getattr(tokenizer, "apply_chat_template", None)
    if not callable(apply):
        raise UsageError(
            "The tokenizer has no chat template.",
            got=type(tokenizer).__name__,
            allowed="a tokenizer of transformers with a chat_template, or none: the program's own is used",
            do="leave tokenizer out",
        )
    found = apply(
        list(messages),
        tools=None if template.tools is None else list(template.tools),
        documents=None if template.documents is None else list(template.documents),
        add_generation_prompt=not template.continue_final_message,
        continue_final_message=template.continue_final_message,
        tokenize=True,
        return_dict=False,
        **(template.more or {}),
    )
    return [int(token) for token in found]


def rendered_by_program(loaded: WritesText, messages: Messages, template: Template) -> list[int]:
    """Tokens of a conversation by the program's own chat template, which brings all special tokens with it.

    Raises:
        LoadError: It has none.
        InputError: The template refuses the conversation.
    """
    text = ChatTemplate.from_folder(loaded.program.path).render(
        messages,
        template.tools,
        template.documents,
        continue_final_message=template.continue_final_message,
        **(template.more or {}),
    )
    return loaded.tokenizer.ids(text, add_special_tokens=False)
