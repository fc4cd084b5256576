"""Whatever the model's logits are, an answer under a grammar follows it."""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest

from QEfficient.errors import InputError, MissingExtraError, UsageError
from QEfficient.generation.call import read_call
from QEfficient.generation.grammar import GrammarMask, GrammarVocabulary
from QEfficient.generation.tokenizing import OwnTokenizer
from QEfficient.text.stopping import StopTokens
from tests.generation.tokenizer_kinds import ours

END = 2
SPARE = 37  # logits beyond the tokenizer's own tokens, as models pad their vocabulary
READ = ("byte_level", "byte_fallback", "metaspace", "unigram")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 10},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "grün", None]}, "minItems": 1, "maxItems": 3},
        "more": {
            "type": "object",
            "properties": {"yes": {"type": "boolean"}},
            "required": ["yes"],
            "additionalProperties": False,  # else anything may follow, of any length
        },
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


@cache
def vocabulary(kind: str) -> GrammarVocabulary:
    return GrammarVocabulary(ours(kind), ours(kind).size + SPARE, [END])


def answer(kind: str, mask: GrammarMask, seed: int, *, prompt: tuple[int, ...] = (), most: int = 400) -> list[int]:
    """Tokens of random logits, the best allowed one each, until the end token; the prompt left out."""
    random = np.random.default_rng(seed)
    ids = [*prompt]
    for _ in range(most):
        logits = random.normal(size=vocabulary(kind).vocabulary).astype(np.float32)
        before = logits.copy()
        row = mask(np.array(ids, np.int64), logits)
        assert (logits == before).all() and row.dtype == np.float32
        assert (row[np.isfinite(row)] == logits[np.isfinite(row)]).all()
        ids.append(int(row.argmax()))
        if ids[-1] == END:
            return ids[len(prompt) : -1]
    raise AssertionError("no end")


def follows(value: Any, schema: dict[str, Any]) -> bool:
    """The part of JSON schema that is used here, checked by hand."""
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "object":
            properties = schema["properties"]
            return (
                isinstance(value, dict)
                and set(schema["required"]) <= set(value)
                and (schema.get("additionalProperties", True) or set(value) <= set(properties))
                and all(follows(item, properties[name]) for name, item in value.items() if name in properties)
            )
        case "array":
            inside = isinstance(value, list) and schema["minItems"] <= len(value) <= schema["maxItems"]
            return inside and all(follows(item, schema["items"]) for item in value)
        case "string":
            return isinstance(value, str) and schema["minLength"] <= len(value) <= schema["maxLength"]
        case "integer":
            return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
        case "boolean":
            return type(value) is bool
    raise AssertionError(schema)


@pytest.mark.parametrize("kind", READ)
def test_random_logits_end_in_json_of_the_schema(kind: str) -> None:
    for seed in range(8):
        mask = vocabulary(kind).mask("json_schema", SCHEMA if seed % 2 else json.dumps(SCHEMA), prompt=3)
        ids = answer(kind, mask, seed, prompt=(7, 8, 9))
        text = ours(kind).decode(ids, skip_special_tokens=True)
        assert follows(json.loads(text), SCHEMA), text
        assert mask.complete


def test_compact_json_has_no_blanks_between_its_parts() -> None:
    made = vocabulary("byte_level")
    for seed in range(6):
        ids = answer("byte_level", made.mask("json_schema", SCHEMA, compact=True), seed)
        text = ours("byte_level").decode(ids, skip_special_tokens=True)
        assert text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
        assert follows(json.loads(text), SCHEMA)


def test_what_compact_json_is_asked_with() -> None:
    tokenizer = OwnTokenizer(ours("byte_level"))
    assert read_call({"json_schema": SCHEMA, "json_compact": True}, {}, tokenizer).compact
    assert not read_call({"json_schema": SCHEMA}, {}, tokenizer).compact
    for keywords in ({"json_compact": True}, {"json_compact": True, "regex": "a"}, {"json_compact": 1}):
        with pytest.raises(UsageError, match="json_compact"):
            read_call(keywords, {}, tokenizer)


def test_a_regular_expression_and_a_lark_grammar() -> None:
    date = r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9] (東京|Paris)"
    lark = 'start: greeting " " name "!"\ngreeting: "hello" | "bye"\nname: /[A-Z][a-z]{1,8}/\n'
    for seed in range(6):
        text = ours("byte_level").decode(answer("byte_level", vocabulary("byte_level").mask("regex", date), seed))
        assert re.fullmatch(date, text)
        text = ours("byte_level").decode(answer("byte_level", vocabulary("byte_level").mask("lark", lark), seed))
        assert re.fullmatch(r"(hello|bye) [A-Z][a-z]{1,8}!", text)


def test_one_hook_follows_several_sequences_in_turn() -> None:
    """Beams ask for one sequence after the other, and go back."""
    made = vocabulary("byte_level")
    fresh = [answer("byte_level", made.mask("json_schema", SCHEMA), seed) for seed in range(3)]
    shared = made.mask("json_schema", SCHEMA)
    row = np.zeros(made.vocabulary, np.float32)
    for length in (5, 2, 9, 0, 9):
        for ids in fresh:
            expected = made.mask("json_schema", SCHEMA)(ids[:length], row)
            assert np.array_equal(shared(ids[:length], row), expected)
    ended = [*fresh[0], END]
    shared(fresh[0], row)
    assert np.isfinite(shared(fresh[0], row)[END])
    shared(ended, row)
    assert np.array_equal(shared(fresh[1][:3], row), made.mask("json_schema", SCHEMA)(fresh[1][:3], row))


def test_no_token_beyond_the_tokenizer_and_no_special_one() -> None:
    made = vocabulary("byte_level")
    row = made.mask("regex", ".*")([], np.zeros(made.vocabulary, np.float32))
    allowed = set(np.flatnonzero(np.isfinite(row)).tolist())
    assert END in allowed and len(allowed) > 1000
    assert not allowed & (ours("byte_level").special_ids - {END})
    assert max(allowed) < ours("byte_level").size


def test_a_grammar_beside_stop_strings() -> None:
    made = vocabulary("byte_level")
    ids = answer("byte_level", made.mask("regex", "[ab]{20}STOP[ab]{5}"), 1)
    stop = StopTokens(ours("byte_level"), "STOP")
    ends = [stop(ids[: i + 1]) for i in range(len(ids))]
    assert ends.count(True) == 1


@pytest.mark.parametrize(
    ("kind", "grammar", "said"),
    [
        ("json_schema", {"type": "nope"}, "Invalid type: nope"),
        ("json_schema", "{", ""),
        ("json_schema", "3", ""),
        ("regex", "a(", "unclosed group"),
        ("regex", 3, "no string"),
        ("lark", "start: 'a", "lexer error"),
        ("lark", {"a": 1}, "no string"),
    ],
)
def test_what_is_no_grammar(kind: Any, grammar: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        vocabulary("byte_level").mask(kind, grammar)
    assert said in str(caught.value)


def test_a_kind_that_is_none() -> None:
    with pytest.raises(UsageError, match="'json_schema', 'regex', 'lark'"):
        vocabulary("byte_level").mask("gbnf", "root ::= x")  # type: ignore[arg-type]


def test_an_answer_that_left_the_grammar() -> None:
    mask = vocabulary("byte_level").mask("regex", "[0-9]+")
    with pytest.raises(InputError, match="does not follow the grammar"):
        mask(ours("byte_level").ids("x", add_special_tokens=False), np.zeros(vocabulary("byte_level").vocabulary))


@pytest.mark.parametrize("ends", [[], [-1], [10**6]])
def test_an_end_token_is_needed(ends: list[int]) -> None:
    with pytest.raises(InputError, match="end token"):
        GrammarVocabulary(ours("byte_level"), 2000, ends)


def test_without_llguidance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match=r'pip install "QEfficient\[grammar\]"'):
        GrammarVocabulary(ours("byte_level"), 2000, [END])
