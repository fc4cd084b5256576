"""Messages → the prompt that a model was trained on: chat templates, rendered as transformers 5.24 renders them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from QEfficient.errors import InputError, LoadError
from QEfficient.text.chat_files import Templates, read_chat
from QEfficient.text.chat_sandbox import as_dicts, compiled, plain
from QEfficient.text.continued import marked, up_to_mark
from QEfficient.text.tool_schema import tool_schema

# Names under which messages carry the model's reasoning. The first is the standard one.
REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTemplate:
    """The chat templates of a model.

    The prompt has the special tokens that belong into it: :meth:`QEfficient.text.tokenizer.Tokenizer.ids` encodes it
    with ``add_special_tokens=False``.

    Args:
        templates: The Jinja template, or several by name (``"default"``, ``"tool_use"``, …); ``None``: there is none.
        special_tokens: What templates know by name, ``"bos_token"`` → ``"<s>"``.
    """

    def __init__(self, templates: Templates, special_tokens: Mapping[str, str] | None = None) -> None:
        self.templates = templates
        self.special_tokens = dict(special_tokens or {})

    @classmethod
    def from_folder(cls, folder: Path) -> ChatTemplate:
        """Those of a program's or a model's folder, as :func:`QEfficient.text.chat_files.read_chat` finds them.

        Raises:
            LoadError: A file can't be read.
        """
        return cls(*read_chat(folder))

    def render(
        self,
        messages: Sequence[Any],
        tools: Iterable[Mapping[str, Any] | Callable[..., Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool | None = None,
        continue_final_message: bool | str = False,
        chat_template: str | None = None,
        **variables: Any,
    ) -> str:
        """One conversation as a prompt, byte for byte as ``apply_chat_template(tokenize=False)`` gives it.

        Args:
            messages: Dicts with ``role`` and ``content``, dataclasses or pydantic models. Keys whose value is ``None``
                count as missing.
            tools: JSON schemas, or Python functions with type hints and a docstring, which
                :func:`QEfficient.text.tool_schema.tool_schema` describes.
            documents: Dicts for templates that show documents.
            add_generation_prompt: Write the header of the answer behind the messages; left out: unless the last message
                goes on.
            continue_final_message: Leave the last message open, so that the model goes on with it. A string names the
                field that goes on, in place of ``content``.
            chat_template: A template in place of the model's own, or the name of one of these.
            variables: More variables for the template, such as ``enable_thinking=False``.

        Raises:
            InputError: The messages are none, or the template refuses them; its own message is in the error's.
            LoadError: The model has no template, or one that Jinja can't read.
        """
        template = self.template(chat_template, tools=tools is not None)
        chat = [_with_reasoning(plain(message)) for message in _messages(messages)]
        if add_generation_prompt is None:
            add_generation_prompt = not continue_final_message
        final = None
        if continue_final_message:
            if add_generation_prompt:
                raise InputError(
                    "The last message can't go on where a new answer begins.",
                    got="continue_final_message and add_generation_prompt",
                    allowed="one of them",
                    do="leave add_generation_prompt out",
                )
            field = continue_final_message if isinstance(continue_final_message, str) else "content"
            final = marked(chat, field, template, REASONING)
        text = _rendered(
            template,
            {
                **self.special_tokens,
                **plain(variables),
                "messages": chat,
                "tools": plain(_schemas(tools)),
                "documents": plain(_documents(documents)),
                "add_generation_prompt": add_generation_prompt,
            },
            error=LoadError if chat_template is None else InputError,
        )
        return text if final is None else up_to_mark(text, final)

    def template(self, chat_template: str | None = None, *, tools: bool = False) -> str:
        """The text of the template that :meth:`render` uses.

        Args:
            chat_template: A template, or the name of one of the model's.
            tools: Whether there are tools; a template named ``tool_use`` is for them.

        Raises:
            LoadError: There is none, or several and none that is the default.
        """
        if isinstance(self.templates, Mapping):
            if chat_template is not None:
                return self.templates.get(chat_template, chat_template)
            for name in ("tool_use", "default") if tools else ("default",):
                if name in self.templates:
                    return self.templates[name]
            raise LoadError(
                "The model has several chat templates, and none is the default.",
                got="no chat_template",
                allowed=", ".join(map(repr, sorted(self.templates))),
                do="pass chat_template= one of these names",
            )
        if chat_template is None and self.templates is None:
            raise LoadError(
                "The model has no chat template.",
                got="no chat_template",
                allowed="chat_template.jinja in the repo, or chat_template in its tokenizer_config.json",
                do="pass chat_template= a Jinja template, or give the model a plain prompt",
            )
        return self.templates if chat_template is None else chat_template  # type: ignore[return-value]


def _messages(messages: Any) -> list[dict[str, Any]]:
    """The messages as dicts, without keys that have no value."""
    found = as_dicts(getattr(messages, "messages", messages))
    if not isinstance(found, list | tuple) or not found:
        raise InputError(
            "This is no conversation.",
            got=f"{messages!r:.120}",
            allowed='a list of messages, at least one: [{"role": "user", "content": "…"}]',
            do="put the text into a message",
        )
    for message in found:
        if not isinstance(message, dict):
            raise InputError(
                "A message is no dict.",
                got=f"{message!r:.120}",
                allowed="dicts, dataclasses or pydantic models; one conversation a call",
                do='write it as {"role": "user", "content": "…"}',
            )
    return [{key: value for key, value in message.items() if value is not None} for message in found]


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Reasoning under the standard name, and under the one that gpt-oss reads."""
    found = next((message[name] for name in REASONING if message.get(name) is not None), None)
    return message if found is None else {"thinking": found, **message, "reasoning_content": found}


def _schemas(tools: Iterable[Any] | None) -> list[Any] | None:
    if tools is None:
        return None
    found: list[Any] = []
    for tool in tools:
        if isinstance(tool, dict):
            found.append(tool)
        elif inspect.isfunction(tool) or inspect.ismethod(tool):
            found.append(tool_schema(tool))
        else:
            raise InputError(
                "A tool is neither a schema nor a function.",
                got=f"{tool!r:.120}",
                allowed="JSON schemas as dicts, and functions with type hints and a docstring",
                do="pass the tool's JSON schema",
            )
    return found


def _documents(documents: Sequence[Any] | None) -> Sequence[Any] | None:
    for document in documents or ():
        if not isinstance(document, dict):
            raise InputError(
                "A document is no dict.",
                got=f"{document!r:.120}",
                allowed='dicts, {"title": "…", "text": "…"}',
                do="put the text into a dict",
            )
    return documents


def _rendered(template: str, variables: Mapping[str, Any], *, error: type[InputError | LoadError]) -> str:
    from jinja2 import TemplateSyntaxError

    try:
        ready = compiled(template)
    except TemplateSyntaxError as caught:
        raise error(
            f"The chat template can't be read: {caught.message} (line {caught.lineno}).",
            got=f"{template!r:.80}",
            allowed="a Jinja template",
            do="correct the template, or pass another one as chat_template=",
        ) from caught
    try:
        return ready.render(**variables)
    except Exception as caught:  # a template runs any code that the sandbox lets it
        raise InputError(
            f"The chat template refuses this conversation: {caught or type(caught).__name__}",
            got=f"roles {[message.get('role') for message in variables['messages']]!r:.120}",
            allowed="conversations that the model's template knows",
            do="change the messages, or pass another template as chat_template=",
        ) from caught
