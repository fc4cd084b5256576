"""What ``compile`` of a model with an encoder makes of its keywords. Nothing is exported here."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.build.decoder_request import DecoderRequest, parse_decoder
from QEfficient.build.seq2seq_sizes import seq2seq_facts
from QEfficient.errors import InputError, NotYetSupportedError, OptionError, UsageError
from QEfficient.generation.call import read_call
from QEfficient.records import DecoderFacts, TextFacts
from QEfficient.tasks.text2text_generation import SourceForm
from tests.generation.tiny_decoders import tiny_decoder
from tests.generation.tiny_seq2seq import tiny_seq2seq

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(QEFFAutoModelForSeq2SeqLM.compile).parameters.items()
    if parameter.default is not inspect.Parameter.empty
}
HOST, CARD = "onnxruntime", "emulator"


def request(continuous: bool | None = None, limit: int | None = 1024, **keywords: Any) -> DecoderRequest:
    given = {**DEFAULTS, **{name: value for name, value in keywords.items() if name in DEFAULTS}}
    options = {name: value for name, value in keywords.items() if name not in DEFAULTS}
    text = TextFacts(tokenizer=None, max_length=10**9)
    backend = given["backend"] or HOST
    return parse_decoder({**given, "backend": backend}, options, text, continuous, limit, sizes=seq2seq_facts)


@pytest.mark.parametrize(
    ("continuous", "limit", "keywords", "expected"),
    [
        (None, 1024, {}, (True, 8, 8, 256, 512, 512)),
        (None, None, {}, (True, 8, 8, 256, 512, 512)),
        (None, 64, {}, (True, 8, 8, 64, 64, 64)),
        (None, 1024, {"backend": CARD}, (False, 1, 1, 1, 150, 512)),
        (None, 128, {"backend": CARD}, (False, 1, 1, 1, 128, 128)),
        (True, 1024, {"backend": CARD}, (True, 8, 8, 1, 150, 512)),
        (None, None, {"backend": CARD, "encoder_ctx_len": 900}, (False, 1, 1, 1, 150, 900)),
        (None, 1024, {"backend": CARD, "full_batch_size": 2, "kv_cache_batch_size": 5}, (True, 2, 5, 1, 150, 512)),
        (None, 1024, {"ctx_len": 40, "encoder_ctx_len": 30, "prefill_seq_len": 4}, (True, 8, 8, 4, 40, 30)),
        (False, 1024, {"batch_size": 3}, (False, 3, 3, 256, 512, 512)),
    ],
)
def test_sizes(
    continuous: bool | None, limit: int | None, keywords: dict[str, Any], expected: tuple[object, ...]
) -> None:
    found = request(continuous, limit, **keywords)
    facts = found.decoder
    sizes = (facts.continuous, facts.decode_rows, facts.cache_slots, facts.prefill_len, facts.ctx_len)
    assert (*sizes, facts.encoder_ctx_len) == expected
    assert found.form == SourceForm(facts.continuous)
    assert facts.source_room == expected[-1] - (not facts.continuous)


def test_entries() -> None:
    """One reads a source, one decodes; a third reads what else a decoder begins with."""
    found = request(True, backend=CARD, full_batch_size=4, encoder_ctx_len=48)
    caches = {"decoder_ctx_len": 150, "encoder_ctx_len": 48, "full_batch_size": 5}
    assert [shape.sizes for shape in found.shapes((), None)] == [
        {"batch_size": 1, "seq_len": 1, "encoder_len": 48, **caches},
        {"batch_size": 4, "seq_len": 1, "encoder_len": 1, **caches},
    ]
    entries = request(False, backend=CARD, batch_size=2, prefill_seq_len=8, ctx_len=32).shapes((), None)
    assert sorted((one.sizes["encoder_len"], one.length, one.batch) for one in entries) == [
        (1, 1, 2),
        (1, 8, 2),
        (512, 8, 2),
    ]


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"encoder_ctx_len": 1025}, "encoder_ctx_len=1025"),
        ({"encoder_ctx_len": 1}, "encoder_ctx_len=1"),
        ({"encoder_ctx_len": 0}, "encoder_ctx_len"),
        ({"ctx_len": 2000}, "ctx_len=2000"),
        ({"ctx_len": 8, "prefill_seq_len": 9}, "prefill_seq_len=9"),
        ({"prompt_len": 3}, "prompt_len"),
    ],
)
def test_what_does_not_fit(keywords: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        request(**keywords)


def test_what_is_not_built() -> None:
    with pytest.raises(NotYetSupportedError, match="num_speculative_tokens"):
        request(num_speculative_tokens=2)


def test_models_of_other_classes() -> None:
    with pytest.raises(UsageError, match="LlamaForCausalLM"):
        QEFFAutoModelForSeq2SeqLM(tiny_decoder("llama"))
    with pytest.raises(OptionError, match="continuous_batching"):
        QEFFAutoModelForSeq2SeqLM(tiny_seq2seq("t5"), continuous_batching=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("continuous", "keyword"), [(False, "batch_size"), (True, "kv_cache_batch_size")])
def test_more_beams_than_slots_are_refused_with_what_to_compile(continuous: bool, keyword: str) -> None:
    facts = DecoderFacts(32, 2, 2, 1, continuous, encoder_ctx_len=16)
    said = {"num_beams": 4}
    for named, repo, who in ((said, {}, "num_beams=4, and"), ({}, said, "num_beams=4 of the repo's generation_config")):
        call = read_call(named, repo, None)
        with pytest.raises(InputError) as caught:
            call.requests([[1]], facts, 97, sources=[[5]])
        assert who in str(caught.value) and f"a program with {keyword}=2" in str(caught.value)
        assert f"compile with {keyword}=4, or pass num_beams=2" in str(caught.value)
    assert read_call({"num_beams": 2}, said, None).requests([[1]], facts, 97, sources=[[5]])
