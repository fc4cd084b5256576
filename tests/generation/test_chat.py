"""Chat templates of real models give the prompts that transformers gives, byte for byte, and refuse what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, processors
from transformers import PreTrainedTokenizerFast
from transformers.utils import get_json_schema

from QEfficient.errors import InputError, LoadError
from QEfficient.records import TextFacts
from QEfficient.text.chat import ChatTemplate
from QEfficient.text.chat_files import write_chat
from QEfficient.text.tokenizer import Tokenizer
from QEfficient.text.tool_schema import tool_schema

FOLDER = Path(__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius", days: list[int] | None = None) -> str:
    """Says what the weather is.

    Args:
        city: The city, e.g. "São Paulo"
        unit (str): The unit (choices: ["celsius", "fahrenheit"])
        days: Which days,
            from today on
    Returns:
        A sentence.
    """
    return ""


SCHEMA = {
    "type": "function",
    "function": {
        "name": "find",
        "description": 'Finds <things> & "more" – in 東京',
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    },
}
USER = {"role": "user", "content": 'What\'s <b>new</b> in 東京? 😀 & "quotes" \\ {{ braces }}'}
SYSTEM = {"role": "system", "content": "Be brief.\n\n  Today is fine.  "}
ANSWER = {"role": "assistant", "content": " Nothing much. \n"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "abcdefghi", "type": "function", "function": {"name": "find", "arguments": {"what": "café", "n": 1.5}}}
    ],
}
CALL_TEXT = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "find", "arguments": '{"what": "é"}'}}],
}
RESULT = {"role": "tool", "name": "find", "tool_call_id": "abcdefghi", "content": '{"found": ["ä", 2]}'}
THOUGHT = {"role": "assistant", "reasoning_content": "Let me think.", "content": "<think>\nhm\n</think>\n\nFour."}
PARTS = {"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": "two"}]}
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ANSWER, {"role": "user", "content": "And then?\n"}, ANSWER],
    "last_is_user": [USER, ANSWER, USER],
    "call": [SYSTEM, USER, CALL],
    "results": [SYSTEM, USER, CALL, RESULT, ANSWER, USER],
    "call_as_text": [USER, CALL_TEXT, RESULT],
    "two_calls": [USER, CALL | {"tool_calls": CALL["tool_calls"] * 2}, RESULT, RESULT],
    "reasoning": [USER, THOUGHT, USER, THOUGHT],
    "parts": [PARTS, ANSWER],
    "out_of_order": [ANSWER, USER],
    "two_users": [USER, USER],
    "unknown_role": [{"role": "narrator", "content": "Once"}, USER],
    "no_content": [{"role": "user"}],
    "no_role": [{"content": "x"}],
    "content_is_number": [{"role": "user", "content": 3}],
    "empty": [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}],
}
KEYWORDS: dict[str, dict[str, Any]] = {
    "plain": {"add_generation_prompt": False},
    "prompt": {"add_generation_prompt": True},
    "tools": {"add_generation_prompt": True, "tools": [SCHEMA, weather]},
    "no_tools": {"add_generation_prompt": False, "tools": []},
    "continued": {"continue_final_message": True},
    "reasoning_continued": {"continue_final_message": "reasoning_content"},
    "documents": {"add_generation_prompt": True, "documents": [{"title": "a", "text": "b"}]},
    "variables": {"add_generation_prompt": True, "enable_thinking": False, "bos_token": "<mine>", "date": np.int64(3)},
    "both": {"add_generation_prompt": True, "continue_final_message": True},
}


@pytest.fixture(scope="module")
def hugging_face() -> PreTrainedTokenizerFast:
    vocab = {token: i for i, token in enumerate([*TOKENS.values(), "a", "user"])}
    return PreTrainedTokenizerFast(tokenizer_object=FastTokenizer(models.WordLevel(vocab, unk_token="<unk>")), **TOKENS)


def outcome(render: Callable[[], str]) -> tuple[str | None, str]:
    """The text, or the error's message."""
    try:
        return render(), ""
    except Exception as error:  # whatever jinja2, transformers or a template raise
        return None, str(error)


@pytest.fixture(autouse=True)
def fixed_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side sees midnight pass."""

    class Day(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 2, 3, 4, 5, 6)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Day)
    monkeypatch.setattr("QEfficient.text.chat_sandbox.datetime", Day)


@pytest.mark.parametrize("name", NAMES)
def test_real_templates(name: str, hugging_face: PreTrainedTokenizerFast) -> None:
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    ours = ChatTemplate(template, TOKENS)
    equal = refused = 0
    for title, messages in CONVERSATIONS.items():
        for kind, keywords in KEYWORDS.items():
            theirs, why = outcome(
                lambda messages=messages, keywords=keywords: hugging_face.apply_chat_template(
                    messages, chat_template=template, tokenize=False, **keywords
                )
            )
            if theirs is not None:
                assert ours.render(messages, **keywords) == theirs, (title, kind)
                equal += 1
                continue
            with pytest.raises(InputError) as caught:
                ours.render(messages, **keywords)
            if "can't go on" not in str(caught.value):  # raised by the template: its own words are kept
                assert why in str(caught.value), (title, kind)
            refused += 1
    assert equal >= 40 and refused >= 10, (equal, refused)


def test_there_are_enough_templates() -> None:
    assert len(NAMES) >= 15


def test_a_folder_in_every_form(tmp_path: Path, hugging_face: PreTrainedTokenizerFast) -> None:
    """One template or several, in files or in the config, beside what transformers reads of the same folder."""
    one, other = "{{ bos_token }}{{ messages[0].content }}é", "tools: {{ tools | length }}\r\n{{ image_token }}"
    config = {**TOKENS, "image_token": "<image>", "tokenizer_class": "PreTrainedTokenizerFast"}
    forms: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "text": ({"chat_template": one}, {}),
        "list": (
            {"chat_template": [{"name": "default", "template": one}, {"name": "tool_use", "template": other}]},
            {},
        ),
        "file": ({"chat_template": "not this one"}, {"chat_template.jinja": one}),
        "files": ({}, {"chat_template.jinja": one, "additional_chat_templates/tool_use.jinja": other}),
        "marked": ({"chat_template": one, "bos_token": {"__type": "AddedToken", "content": "<s>"}}, {}),
        "none": ({}, {}),
    }
    for name, (more, files) in forms.items():
        folder = tmp_path / name
        (folder / "additional_chat_templates").mkdir(parents=True)
        hugging_face.backend_tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(config | more))
        for path, text in files.items():
            (folder / path).write_bytes(text.encode())
        theirs = PreTrainedTokenizerFast.from_pretrained(folder)
        program = tmp_path / f"{name}-program"
        program.mkdir()
        write_chat(folder, program)
        for ours in (ChatTemplate.from_folder(folder), ChatTemplate.from_folder(program)):
            assert ours.special_tokens == theirs.special_tokens_map
            for keywords in (
                {},
                {"tools": [SCHEMA]},
                {"chat_template": "tool_use"},
                {"chat_template": "{{ bos_token }}"},
            ):
                expected, _ = outcome(
                    lambda theirs=theirs, keywords=keywords: theirs.apply_chat_template(
                        [USER], tokenize=False, add_generation_prompt=True, **keywords
                    )
                )
                found, why = outcome(lambda ours=ours, keywords=keywords: ours.render([USER], **keywords))
                assert found == expected, (name, keywords, why)


def test_messages_as_objects(hugging_face: PreTrainedTokenizerFast) -> None:
    @dataclasses.dataclass
    class Message:
        role: str
        content: Any
        name: str | None = None

    class Pydantic:
        def model_dump(self) -> dict[str, Any]:
            return {"role": Kind.user, "content": np.str_("text"), "score": np.float32(0.5)}

    class Kind(StrEnum):
        user = "user"

    class Conversation:
        def __init__(self, messages: list[Any]) -> None:
            self.messages = messages

    template = "{{ messages | tojson }}{{ messages[0].keys() | list }}"
    messages: list[Any] = [
        Message("user", ("a", np.zeros(2))),
        Pydantic(),
        {"role": "user", "content": None, "image": b"x"},
    ]
    for some in (messages, Conversation(messages)):
        theirs = hugging_face.apply_chat_template(some, chat_template=template, tokenize=False)
        assert ChatTemplate(template, TOKENS).render(some, add_generation_prompt=False) == theirs  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__init__.__globals__ }}",
        "{% set _ = messages.append(1) %}",
        "{{ namespace(__class__=1) }}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{{ dict.__class__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ range(10 ** 9) | list }}",
        "{% include 'secrets' %}",
        "{{ raise_exception('I only take two') }}",
        "{{ messages[0]['content'] + 1 }}",
        "{{ nothing.at.all }}",
    ],
)
def test_hostile_templates_stay_in_the_sandbox(template: str, hugging_face: PreTrainedTokenizerFast) -> None:
    theirs, why = outcome(lambda: hugging_face.apply_chat_template([USER], chat_template=template, tokenize=False))
    if theirs is not None:
        assert ChatTemplate(template, TOKENS).render([USER]) == theirs == ""
        return
    with pytest.raises(InputError) as caught:
        ChatTemplate(template, TOKENS).render([USER])
    if "underscore" not in why:
        assert why in str(caught.value)


def test_a_template_that_is_none() -> None:
    with pytest.raises(LoadError, match=r"can't be read: .*line 2"):
        ChatTemplate("x\n{% if %}").render([USER])
    with pytest.raises(InputError, match="can't be read"):
        ChatTemplate(None).render([USER], chat_template="{% if %}")
    with pytest.raises(LoadError, match="has no chat template"):
        ChatTemplate(None).render([USER])
    with pytest.raises(LoadError, match="'b', 'tool_use'"):
        ChatTemplate({"tool_use": "", "b": ""}).render([USER])


@pytest.mark.parametrize("messages", [[], "text", ["text"], [[USER]], None, 3, [3]])
def test_what_is_no_conversation(messages: Any) -> None:
    with pytest.raises(InputError):
        ChatTemplate("{{ messages }}").render(messages)


@pytest.mark.parametrize("keywords", [{"tools": ["find"]}, {"tools": [len]}, {"documents": ["text"]}])
def test_what_is_no_tool_or_document(keywords: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        ChatTemplate("{{ messages }}").render([USER], **keywords)


def test_messages_are_not_changed() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    before = json.dumps(messages)
    template = "{% for part in messages[0].content %}{{ part.text }}{% endfor %}"
    assert ChatTemplate(template).render(messages, continue_final_message=True) == "a"
    assert json.dumps(messages) == before


def test_a_rendered_chat_has_one_bos(hugging_face: PreTrainedTokenizerFast) -> None:
    backend = FastTokenizer.from_str(hugging_face.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = Tokenizer(backend, TextFacts("tokenizer.json", 64))
    prompt = ChatTemplate("{{ bos_token }}{{ messages[0].content }}", TOKENS).render([{"role": "user", "content": "a"}])
    assert tokenizer.ids(prompt, add_special_tokens=False) == [0, 4]
    assert tokenizer.ids("a") == [0, 4]
    assert tokenizer.special_ids == frozenset(range(4))


class Colour(Enum):
    red = "r"
    none = None


class Tools:
    def method(self, a: dict[str, int], b: tuple[int, str], c: Any, d: bool = True) -> dict:  # type: ignore[type-arg]
        """Does it.
        More of it.

        Args:
            a (dict): first
              goes on: here
            b:
                second line
            c: x (choices: [1, "two "])

            d: last  word

        Returns:
            dict: What it found,
              and more

        Raises:
            ValueError: Never.
        """
        return {}


def every_hint(
    a: int | float | None,
    b: list[str] | str,
    c: Colour,
    d: Literal[1, "x", None],
    e: list | tuple,  # type: ignore[type-arg]
    f: np.ndarray | None = None,  # type: ignore[type-arg]
) -> None:
    """Doc.

    Args:
        a: a
        b: b
        c: c
        d: d
        e: e
        f: f
    """


def without_doc(a: int) -> None: ...


def undescribed(a: int, b: int) -> None:
    """Doc.

    Args:
        a: only this
    """


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """Doc.

    Args:
        a: a
    """


def odd_return(a: int = 1) -> np.ndarray:  # type: ignore[type-arg]
    """Doc. Args: none here

    Args:
        a:
        b: c
        x: y
    """
    return np.zeros(1)


def only_doc() -> int:
    """Says one thing

    Returns:
        one
    """
    return 1


def bad_tuple(a: tuple[int]) -> None:
    """Doc.

    Args:
        a: a
    """


def fine_hints(
    a: int | float | None,
    b: list[str] | str,
    c: Colour,
    d: Literal[1, "x", None],
    e: list | tuple = (),  # type: ignore[type-arg]
) -> str | None:
    """Doc.

    Args:
        a: a
        b: b
        c: c
        d: d (CHOICES: ["p", "q"])
        e: e: f
    Returns: inline
    """
    return None


@pytest.mark.parametrize(
    "function",
    [
        weather,
        Tools().method,
        every_hint,
        without_doc,
        undescribed,
        untyped,
        odd_return,
        only_doc,
        bad_tuple,
        fine_hints,
    ],
    ids=lambda function: function.__name__,
)
def test_functions_as_tools(function: Callable[..., Any]) -> None:
    try:
        expected = get_json_schema(function)
    except Exception:  # TypeHintParsingException, DocstringParsingException
        with pytest.raises(InputError):
            tool_schema(function)
    else:
        found = tool_schema(function)
        assert json.dumps(found) == json.dumps(expected)
