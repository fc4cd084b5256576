"""What the compiler is told: argument vectors and small files, against golden files.

``QEFF_GOLDEN=write`` writes them anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from QEfficient.backends.qaic.options import (
    CompilerFiles,
    argv,
    check_devices,
    check_partition,
    custom_io,
    partition,
    specializations,
)
from QEfficient.backends.qaic.sdk import Compiler
from QEfficient.errors import CompileError, OptionError
from QEfficient.records import CompileOptions, Shape, Target, TensorSpec

GOLDEN = Path(__file__).parents[2] / "golden" / "qaic"
NEW = Compiler("qaic-compile", Path("/opt/qti-aic/exec/qaic-compile"))
OLD = Compiler("qaic-exec", Path("/opt/qti-aic/exec/qaic-exec"))
CARD = Target("qaic", "fp16", 16)
FOLDER = Path("/program")
IDS = (
    TensorSpec("input_ids", "int64", ("batch_size", "seq_len")),
    TensorSpec("attention_mask", "int64", ("batch_size", "seq_len")),
)

# name → compiler, hardware, target, options, whether a partition file was generated
SETS = {
    "default": (NEW, "ai100", CARD, CompileOptions(), False),
    "default_old_sdk": (OLD, "2.0", CARD, CompileOptions(), False),
    "ai200": (NEW, "ai200", CARD, CompileOptions(), False),
    "fp32": (NEW, "ai100", replace(CARD, compute="fp32"), CompileOptions(), False),
    "mxfp6_and_functions": (
        NEW,
        "ai100",
        CARD,
        CompileOptions(flags={"sub_functions": True, "mxfp6_matmul": True, "mos": [1, 2], "ols": 1}),
        False,
    ),
    "throughput_old_sdk": (
        OLD,
        "2.0",
        replace(CARD, cores=2),
        CompileOptions(flags={"stats_batchsize": 4, "mos": 1, "ols": 2, "multicast_weights": True}),
        False,
    ),
    "four_devices": (NEW, "ai100", replace(CARD, devices=4), CompileOptions(flags={"mdts_mos": 2}), True),
    "files": (
        NEW,
        "ai100",
        CARD,
        CompileOptions(
            flags={"combine_inputs": False, "vtcm_working_set_limit_ratio": 0.25},
            files={
                "custom_IO_list_file": FOLDER / "options/0-io.yaml",
                "node_precision_info": FOLDER / "options/1-nodes.yaml",
                "mdp_load_partition_config": FOLDER / "options/2-parts.json",
                "raw_compiler_flags[1]": FOLDER / "options/3-new.json",
            },
            raw=("-new-flag", "-new-config=elsewhere/new.json"),
        ),
        False,
    ),
}


def same_as_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("QEFF_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", SETS)
def test_argv(name: str) -> None:
    compiler, hardware, target, options, generated = SETS[name]
    partition_file = FOLDER / "partition.json" if generated else None
    paths = CompilerFiles(FOLDER / "model.onnx", FOLDER / "qpc", FOLDER / "specializations.json", partition_file)
    found = argv(compiler, hardware, paths, target, options)
    same_as_golden(f"argv_{name}.txt", "\n".join(found) + "\n")


@pytest.mark.parametrize("named", [True, False], ids=["named", "flat"])
@pytest.mark.parametrize("lengths", [(32,), (128, 32)], ids=["one", "several"])
def test_specializations(lengths: tuple[int, ...], named: bool) -> None:
    text = specializations(IDS, [Shape(length, 4) for length in lengths], named=named)
    assert text is not None
    form = "named" if named else "flat"
    same_as_golden(f"specializations_{form}_{len(lengths)}.json", text)


# name → compiler, hardware, devices, flags: a decoder's
DECODERS = {
    "decoder": (NEW, "ai100", 1, {}),
    "decoder_old_sdk": (OLD, "2.0", 1, {}),
    "decoder_four_devices": (NEW, "ai100", 4, {"mxint8_kv_cache": True, "allow_mxint8_mdp_io": True}),
}


@pytest.mark.parametrize("name", DECODERS)
def test_argv_of_a_decoder(name: str) -> None:
    compiler, hardware, devices, flags = DECODERS[name]
    paths = CompilerFiles(
        FOLDER / "model.onnx",
        FOLDER / "qpc",
        FOLDER / "specializations.json",
        FOLDER / "partition.json" if devices > 1 else None,
        FOLDER / "custom_io.yaml",
    )
    found = argv(compiler, hardware, paths, replace(CARD, devices=devices), CompileOptions(flags=flags), retained=True)
    same_as_golden(f"argv_{name}.txt", "\n".join(found) + "\n")


def test_state_is_asked_for_once_and_an_own_file_is_read_alone() -> None:
    paths = CompilerFiles(FOLDER / "model.onnx", FOLDER / "qpc", custom_io=FOLDER / "custom_io.yaml")
    own = CompileOptions(flags={"retained_state": True}, files={"custom_IO_list_file": FOLDER / "own.yaml"})
    found = argv(NEW, "ai100", paths, CARD, own, retained=True)
    assert found.count("-retained-state") == 1 and "-retained-state" in argv(NEW, "ai100", paths, CARD, own)
    assert [flag for flag in found if "custom-IO" in flag] == [f"-custom-IO-list-file={FOLDER / 'own.yaml'}"]


PLAIN = (*IDS[:1], TensorSpec("past_key.0", "float32", ("batch_size", 2, "ctx_len", 8)))
SLOTS = (
    *IDS[:1],
    TensorSpec("batch_index", "int64", ("batch_size", 1)),
    TensorSpec("past_key.0", "float32", ("full_batch_size", 2, "ctx_len", 8)),
    TensorSpec("past_key.1", "float32", ("full_batch_size", 2, "sliding_window", 8)),
)
SOURCES = (
    TensorSpec("encoder_input_ids", "int64", ("batch_size", "encoder_len")),
    *IDS[:1],
    TensorSpec("batch_index", "int64", ("batch_size", 1)),
    TensorSpec("past_key_self.0", "float32", ("full_batch_size", 2, "decoder_ctx_len", 8)),
    TensorSpec("past_key_cross.0", "float32", ("full_batch_size", 2, "encoder_ctx_len", 8)),
)
KEPT = (*SLOTS[:3], TensorSpec("num_logits_to_keep", "int64", ("num_logits_to_keep", 1)))
CACHES = {"ctx_len": 128, "full_batch_size": 9, "sliding_window": 16}
SOURCE_CACHES = {"decoder_ctx_len": 150, "encoder_ctx_len": 512, "full_batch_size": 9}
# name → inputs, shapes
DECODER_SHAPES: dict[str, tuple[tuple[TensorSpec, ...], list[Shape]]] = {
    "plain": (PLAIN, [Shape(1, 2, CACHES), Shape(32, 2, CACHES)]),
    "slots": (SLOTS, [Shape(1, 4, CACHES), Shape(32, 1, CACHES)]),
    "one_token": (SLOTS, [Shape(1, 4, CACHES)]),
    "kept": (
        KEPT,
        # speculation by 0 and by 3 tokens; a chunk of a prompt is as long as the latter
        [
            Shape(length, rows, {**CACHES, "num_logits_to_keep": kept})
            for length, rows, kept in ((1, 4, 1), (4, 1, 1), (4, 4, 4))
        ],
    ),
    "sources": (
        SOURCES,
        [Shape(1, rows, {**SOURCE_CACHES, "encoder_len": read}) for read, rows in ((512, 1), (1, 4))],
    ),
    "sources_and_prompts": (
        SOURCES,
        [
            Shape(length, rows, {**SOURCE_CACHES, "encoder_len": read})
            for read, length, rows in ((512, 8, 1), (1, 8, 1), (1, 1, 4))
        ],
    ),
}


@pytest.mark.parametrize("named", [True, False], ids=["named", "flat"])
@pytest.mark.parametrize("name", DECODER_SHAPES)
def test_specializations_of_a_decoder(name: str, named: bool) -> None:
    inputs, shapes = DECODER_SHAPES[name]
    text = specializations(inputs, shapes, named=named, retained=True)
    assert text is not None and text == specializations(inputs, shapes[::-1], named=named, retained=True)
    same_as_golden(f"specializations_{name}_{'named' if named else 'flat'}.json", text)


def test_the_precision_of_state() -> None:
    pairs = {f"past_{part}.0": f"past_{part}.0_RetainedState" for part in ("key", "value")}
    mxint8 = CompileOptions(flags={"mxint8_kv_cache": True})
    same_as_golden("custom_io_float16.yaml", custom_io(pairs, CARD, CompileOptions()) or "")
    same_as_golden("custom_io_mxint8.yaml", custom_io(pairs, CARD, mxint8) or "")
    assert custom_io({}, CARD, mxint8) is None
    assert custom_io(pairs, replace(CARD, compute="fp32"), CompileOptions()) is None  # the compiler takes no fp32 there
    assert "mxint8" in (custom_io(pairs, replace(CARD, compute="fp32"), mxint8) or "")


def test_only_free_dims_are_bound() -> None:
    inputs = (TensorSpec("input_ids", "int64", (1, "seq_len")),)
    text = specializations(inputs, [Shape(32)], named=False)
    assert json.loads(text or "") == {"specializations": [{"seq_len": "32"}]}
    assert specializations((TensorSpec("input_ids", "int64", (1, 32)),), [Shape(32)], named=True) is None


def test_a_dim_that_no_bucket_sizes() -> None:
    inputs = (TensorSpec("pixels", "float32", ("batch_size", "height")),)
    with pytest.raises(CompileError, match="height"):
        specializations(inputs, [Shape(32)], named=True)


def test_partition() -> None:
    assert partition(CARD) is None
    same_as_golden("partition_4.json", partition(replace(CARD, devices=4)) or "")
    with pytest.raises(OptionError, match="1 to 16"):
        check_devices(17)


@pytest.mark.parametrize("text", ["", "[]", '{"partitions": [{}]}', '{"partitions": [{"devices": [{"id": 0}]}]}'])
def test_a_file_that_is_no_partition_file(text: str) -> None:
    with pytest.raises(OptionError, match="not a partition file"):
        check_partition(text, CARD)


def test_a_partition_file_for_another_number_of_devices() -> None:
    text = partition(replace(CARD, devices=2)) or ""
    check_partition(text, replace(CARD, devices=2))
    with pytest.raises(OptionError, match="num_devices=2"):
        check_partition(text, CARD)
    with pytest.raises(OptionError, match="num_cores=16"):
        check_partition(text, replace(CARD, devices=2, cores=4))


def test_every_golden_file_is_used() -> None:
    known = {f"argv_{name}.txt" for name in [*SETS, "example_new", "example_old"]} | {"partition_4.json"}
    known |= {f"specializations_{form}_{count}.json" for form in ("named", "flat") for count in (1, 2)}
    known |= {f"argv_{name}.txt" for name in DECODERS} | {f"custom_io_{form}.yaml" for form in ("float16", "mxint8")}
    known |= {f"specializations_{name}_{form}.json" for name in DECODER_SHAPES for form in ("named", "flat")}
    assert {path.name for path in GOLDEN.iterdir()} == known
