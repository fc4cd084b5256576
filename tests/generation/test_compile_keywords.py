"""Every keyword of the vendor's classes works or is refused by name, with what to do. Nothing is exported here."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.build.decoder_request import DecoderRequest, parse_decoder
from QEfficient.build.decoder_sizes import HOST_CHUNK, HOST_CONTEXT, HOST_DRAFT, SLOTS
from QEfficient.build.refused_keywords import COMPILE, LOAD, QAIC_CONFIG
from QEfficient.errors import NotYetSupportedError, OptionError, QEfficientError, UsageError
from QEfficient.records import TensorSpec, TextFacts
from tests.generation.decoder_repos import decoder_repo
from tests.generation.tiny_decoders import LIMIT, VARIANTS, tiny_decoder

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(QEFFAutoModelForCausalLM.compile).parameters.items()
    if parameter.default is not inspect.Parameter.empty
}
HOST, CARD = "onnxruntime", "emulator"
KEPT = 1 + HOST_DRAFT


def request(continuous: bool | None = None, limit: int | None = 8192, **keywords: Any) -> DecoderRequest:
    given = {**DEFAULTS, **{name: value for name, value in keywords.items() if name in DEFAULTS}}
    options = {name: value for name, value in keywords.items() if name not in DEFAULTS}
    text = TextFacts(tokenizer=None, max_length=10**9)
    return parse_decoder({**given, "backend": given["backend"] or HOST}, options, text, continuous, limit)


def sizes(found: DecoderRequest) -> tuple[object, ...]:
    facts = found.decoder
    return (facts.continuous, facts.decode_rows, facts.cache_slots, facts.prefill_len, facts.ctx_len, facts.kept_logits)


@pytest.mark.parametrize(
    ("continuous", "keywords", "expected"),
    [
        (None, {}, (True, SLOTS, SLOTS, HOST_CHUNK, HOST_CONTEXT, KEPT)),
        (None, {"backend": CARD}, (False, 1, 1, 32, 128, 1)),
        (False, {}, (False, 1, 1, HOST_CHUNK, HOST_CONTEXT, KEPT)),
        (True, {"backend": CARD}, (True, SLOTS, SLOTS, 32, 128, 1)),
        (None, {"backend": CARD, "batch_size": 3}, (False, 3, 3, 32, 128, 1)),
        (None, {"backend": CARD, "full_batch_size": 4}, (True, 4, 4, 32, 128, 1)),
        (None, {"backend": CARD, "full_batch_size": 2, "kv_cache_batch_size": 5}, (True, 2, 5, 32, 128, 1)),
        (True, {"kv_cache_batch_size": 3}, (True, 3, 3, HOST_CHUNK, HOST_CONTEXT, KEPT)),
        (None, {"batch_size": 2}, (True, 2, 2, HOST_CHUNK, HOST_CONTEXT, KEPT)),
        (None, {"ctx_len": 100}, (True, SLOTS, SLOTS, 100, 100, KEPT)),
        (None, {"ctx_len": 100, "prefill_seq_len": 1}, (True, SLOTS, SLOTS, 1, 100, KEPT)),
        (None, {"ctx_len": 6}, (True, SLOTS, SLOTS, 6, 6, 6)),
        (None, {"prefill_seq_len": 64}, (True, SLOTS, SLOTS, 64, HOST_CONTEXT, KEPT)),
        (None, {"num_speculative_tokens": 0}, (True, SLOTS, SLOTS, HOST_CHUNK, HOST_CONTEXT, 1)),
        (None, {"num_speculative_tokens": 3, "backend": CARD}, (False, 1, 1, 32, 128, 4)),
        (None, {"num_speculative_tokens": 3}, (True, SLOTS, SLOTS, HOST_CHUNK, HOST_CONTEXT, 4)),
        (None, {"num_speculative_tokens": [3]}, (True, SLOTS, SLOTS, HOST_CHUNK, HOST_CONTEXT, 4)),
        (None, {"prefill_only": False}, (True, SLOTS, SLOTS, 1, HOST_CONTEXT, KEPT)),
        (None, {"prefill_only": True}, (True, 1, SLOTS, HOST_CHUNK, HOST_CONTEXT, KEPT)),
        (False, {"prefill_only": True, "batch_size": 2}, (False, 2, 2, HOST_CHUNK, HOST_CONTEXT, KEPT)),
    ],
)
def test_what_is_left_out_depends_on_the_backend_and_what_is_named_is_obeyed(
    continuous: bool | None, keywords: dict[str, Any], expected: tuple[object, ...]
) -> None:
    assert sizes(request(continuous, **keywords)) == expected


@pytest.mark.parametrize(("named", "ahead"), [(None, 0), (0, 0), (3, 3), ([5], 5)])
@pytest.mark.parametrize("backend", [HOST, CARD])
def test_tokens_are_drafted_unasked_where_their_number_was_named(named: Any, ahead: int, backend: str) -> None:
    assert request(num_speculative_tokens=named, backend=backend).decoder.speculated == ahead


def test_the_context_left_out_is_the_models_limit_where_that_is_less() -> None:
    assert request(limit=96).decoder.ctx_len == 96
    assert request(limit=96, backend=CARD).decoder.ctx_len == 96
    assert request(limit=None).decoder.ctx_len == HOST_CONTEXT


@pytest.mark.parametrize(
    ("continuous", "keywords", "said"),
    [
        (False, {"full_batch_size": 4}, ("full_batch_size=4", "continuous_batching")),
        (False, {"kv_cache_batch_size": 4}, ("kv_cache_batch_size=4",)),
        (True, {"full_batch_size": 4, "kv_cache_batch_size": 2}, ("kv_cache_batch_size=2", "full_batch_size=4")),
        (True, {"full_batch_size": 4, "batch_size": 3}, ("batch_size=3", "full_batch_size=4")),
        (None, {"ctx_len": 9000}, ("ctx_len=9000", "8192")),
        (None, {"ctx_len": 64, "prefill_seq_len": 65}, ("prefill_seq_len=65", "ctx_len=64")),
        (None, {"ctx_len": 0}, ("ctx_len=0",)),
        (None, {"ctx_len": 12.5}, ("ctx_len=12.5",)),
        (None, {"prefill_seq_len": "32"}, ("prefill_seq_len='32'",)),
        (None, {"full_batch_size": True}, ("full_batch_size=True",)),
        (None, {"batch_size": -1}, ("batch_size=-1",)),
        (None, {"num_devices": 0}, ("num_devices=0",)),
        (None, {"num_speculative_tokens": [0, 3]}, ("[0, 3]",)),
        (None, {"num_speculative_tokens": -1}, ("-1",)),
        (None, {"prefill_only": 1}, ("prefill_only=1",)),
        (None, {"compute": "fp8"}, ("fp8",)),
        (None, {"verify": "maybe"}, ("maybe",)),
        (None, {"limits": {"min_cosin": 1}}, ("min_cosin", "min_cosine")),
        (None, {"specializations": [{}]}, ("specializations", "ctx_len")),
        (None, {"retained_state": True}, ("retained_state",)),
        (None, {"ctxlen": 128}, ("ctxlen", "ctx_len")),
        (None, {"prefill_seq_length": 32}, ("prefill_seq_length", "prefill_seq_len")),
        (None, {"full_batchsize": 32}, ("full_batchsize", "batch_size")),
        (None, {"mxint8_kv": True}, ("mxint8_kv", "mxint8_kv_cache")),
        (None, {"moss": 1}, ("moss", "mos")),
    ],
)
def test_what_can_t_be_is_refused_with_its_name(
    continuous: bool | None, keywords: dict[str, Any], said: tuple[str, ...]
) -> None:
    with pytest.raises(OptionError) as caught:
        request(continuous, **keywords)
    for part in said:
        assert part in str(caught.value)


OTHER: dict[str, Any] = {
    "comp_ctx_lengths_prefill": [1024],
    "comp_ctx_lengths_decode": [1024],
    "enable_chunking": True,
    "retain_full_kv": True,
    "moe_prefill_packed_chunk_size": 128,
    "layerwise": True,
    "layerwise_window_size": 2,
    "kv_cache_prefix": "past",
    "kv_offload": True,
    "enable_proxy": True,
    "speculative_model_type": "turbo",
    "include_sampler": True,
    "return_pdfs": True,
    "max_top_k_ids": 100,
    "include_guided_decoding": True,
    "num_kv_blocks": 2,
    "ccl_enabled": True,
    "mla_absorption": {"enable": True},
    "enable_blocking": True,
}
"""A value of each keyword that is not built."""


@pytest.mark.parametrize("name", COMPILE)
def test_keywords_of_compile_that_are_not_built_are_refused_by_name(name: str) -> None:
    assert sizes(request(**{name: COMPILE[name].default})) == sizes(request())
    with pytest.raises(NotYetSupportedError, match=name) as caught:
        request(**{name: OTHER[name]})
    assert caught.value.do


@pytest.mark.parametrize("name", [name for name in COMPILE if not name.startswith("comp_")])
def test_so_are_those_of_export(name: str) -> None:
    model = QEFFAutoModelForCausalLM(tiny_decoder("llama"))
    with pytest.raises(NotYetSupportedError, match=name):
        model.export(**{name: OTHER[name]})


@pytest.mark.parametrize("name", LOAD)
def test_so_are_those_of_from_pretrained(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotYetSupportedError, match=name):
        QEFFAutoModelForCausalLM.from_pretrained(tmp_path, **{name: OTHER[name]})


@pytest.mark.parametrize("name", QAIC_CONFIG)
def test_so_are_those_of_qaic_config(name: str) -> None:
    model = tiny_decoder("llama")
    QEFFAutoModelForCausalLM(model, qaic_config={name: QAIC_CONFIG[name].default})
    with pytest.raises(NotYetSupportedError, match=name):
        QEFFAutoModelForCausalLM(model, qaic_config={name: OTHER[name]})


def test_a_target_of_speculation_is_taken_and_an_unknown_key_is_not() -> None:
    model = tiny_decoder("llama")
    QEFFAutoModelForCausalLM(model, qaic_config={"speculative_model_type": "target"})
    with pytest.raises(OptionError, match="include_sampler"):
        QEFFAutoModelForCausalLM(model, qaic_config={"include_samplr": True})
    with pytest.raises(OptionError, match="no mapping"):
        QEFFAutoModelForCausalLM(model, qaic_config="target")


def test_every_keyword_of_the_vendor_is_known() -> None:
    vendor = {
        *("onnx_path", "compile_dir", "prefill_seq_len", "ctx_len", "comp_ctx_lengths_prefill"),
        *("comp_ctx_lengths_decode", "batch_size", "full_batch_size", "kv_cache_batch_size", "num_devices"),
        *("num_cores", "mxfp6_matmul", "mxint8_kv_cache", "num_speculative_tokens", "prefill_only"),
        *("use_onnx_subfunctions", "offload_pt_weights", "enable_chunking", "retain_full_kv"),
        *("moe_prefill_packed_chunk_size", "layerwise", "layerwise_window_size", "kv_cache_prefix"),
    }
    assert vendor <= set(DEFAULTS)
    ours = inspect.signature(QEFFAutoModelForCausalLM.from_pretrained).parameters
    assert list(ours)[:5] == [
        *("pretrained_model_name_or_path", "continuous_batching", "qaic_config", "max_seq_len_cached", "layerwise")
    ]
    exported = list(inspect.signature(QEFFAutoModelForCausalLM.export).parameters)[1:10]
    assert exported == [
        *("export_dir", "prefill_only", "prefill_seq_len", "num_cores", "moe_prefill_packed_chunk_size", "layerwise"),
        *("layerwise_window_size", "kv_cache_prefix", "dynamo"),
    ]


def test_shapes_are_an_entry_for_prompts_and_one_that_decodes() -> None:
    inputs = (
        TensorSpec("input_ids", "int64", ("batch_size", "seq_len")),
        TensorSpec("past_key.0", "float32", ("full_batch_size", 2, "ctx_len", 8)),
    )
    many = {"full_batch_size": 4, "kv_cache_batch_size": 8, "ctx_len": 128, "prefill_seq_len": 32}
    made = request(True, **many, num_speculative_tokens=0)
    slots = {"ctx_len": 128, "full_batch_size": 9}
    assert [shape.sizes for shape in made.shapes(inputs, None)] == [
        {"batch_size": 4, "seq_len": 1, **slots},
        {"batch_size": 1, "seq_len": 32, **slots},
    ]
    ahead = request(True, **many)
    assert [(shape.batch, shape.length) for shape in ahead.shapes(inputs, None)] == [(4, 1), (4, KEPT), (1, 32)]
    only = request(True, full_batch_size=4, ctx_len=128, prefill_seq_len=1, backend=CARD)
    assert [shape.sizes["batch_size"] for shape in only.shapes(inputs, None)] == [4]
    assert len(request(True, prefill_only=True).shapes(inputs, None)) == 1
    assert [shape.length for shape in request(True, prefill_only=False, backend=CARD).shapes(inputs, None)] == [1]


def test_every_field_but_the_reason_is_part_of_the_key() -> None:
    base = request()
    for changed in (
        {"ctx_len": 64},
        {"full_batch_size": 3},
        {"prefill_seq_len": 16},
        {"num_speculative_tokens": 1},
        {"num_cores": 4},
        {"mxint8_kv_cache": True},
        {"texts": ["a text"]},
        {"limits": {"min_cosine": 0.9}},
        {"prefill_only": True},
        {"backend": CARD},
        {"mos": 1},
    ):
        assert request(**changed).ingredients() != base.ingredients(), changed


# ---------------------------------------------------------------------------------------------- loading


def test_a_model_of_another_class_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    bert = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48))
    with pytest.raises(UsageError, match="BertModel"):
        QEFFAutoModelForCausalLM(bert)


def test_full_batch_size_of_from_pretrained_is_the_older_word(tmp_path: Path) -> None:
    folder = decoder_repo(tmp_path / "repo")
    with pytest.warns(DeprecationWarning, match="continuous_batching=True"):
        model = QEFFAutoModelForCausalLM.from_pretrained(folder, full_batch_size=4)
    assert model._continuous is True


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"continuous_batching": 4}, "continuous_batching=4"),
        ({"max_seq_len_cached": 0}, "max_seq_len_cached=0"),
        ({"num_layers": 4}, "num_layers"),
    ],
)
def test_the_constructor_refuses_what_it_can_t_take(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        QEFFAutoModelForCausalLM(tiny_decoder("llama"), **keywords)


def test_max_seq_len_cached_bounds_the_context() -> None:
    model = QEFFAutoModelForCausalLM(tiny_decoder("llama"), max_seq_len_cached=48)
    with pytest.raises(OptionError, match="1 to 48"):
        model.compile(ctx_len=64)


def test_what_encoders_have_is_not_here_and_what_is_not_built_is_refused_by_name() -> None:
    model = QEFFAutoModelForCausalLM(tiny_decoder("llama"))
    for name in ("encode", "similarity", "predict", "rank", "max_seq_length", "suggest_buckets"):
        assert not hasattr(model, name), name
    for name in ("quantize", "prune"):
        with pytest.raises(NotYetSupportedError, match=name):
            getattr(model, name)("int8")
    with pytest.raises(NotYetSupportedError, match="int8"):
        model.compile(compute="int8")
    with pytest.raises(NotYetSupportedError, match="onnx_path"):
        model.compile(onnx_path="other.onnx")
    with pytest.raises(QEfficientError, match="not compiled"):
        model.device_report()


@pytest.mark.parametrize(("name", "limit"), [("llama by dynamic", LIMIT), ("phi3 by longrope", LIMIT // 2)])
def test_a_context_in_which_rotary_positions_would_change_is_refused_with_their_kind(name: str, limit: int) -> None:
    model_type, changes = VARIANTS[name]
    model = QEFFAutoModelForCausalLM(tiny_decoder(model_type, **changes))
    with pytest.raises(OptionError, match=rf"positions \({name.split()[-1]}\) turn longer texts") as caught:
        model.compile(ctx_len=limit + 1, backend=HOST)
    assert caught.value.allowed == f"1 to {limit} positions"
