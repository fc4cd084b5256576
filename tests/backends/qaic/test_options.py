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
    assert {path.name for path in GOLDEN.iterdir()} == known
