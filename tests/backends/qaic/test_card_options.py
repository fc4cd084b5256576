"""The table of compiler flags, and what is refused by it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.backends import card_options
from QEfficient.backends.card_options import OWN, REFUSED, TABLE, parse
from QEfficient.backends.qaic.options import render
from QEfficient.errors import OptionError
from tests.sdk.parts import compiler as fake_compiler

GOOD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "mos": ([1, 2], ("-mos=1,2",)),
    "ols": (np.int64(4), ("-ols=4",)),
    "aic_enable_depth_first": (True, ("-aic-enable-depth-first",)),
    "combine_inputs": (False, ("-combine-inputs=false",)),
    "use_producer_dma": (True, ("-use-producer-dma=1",)),
    "vtcm_working_set_limit_ratio": (0.5, ("-vtcm-working-set-limit-ratio=0.5",)),
    "execute_nodes_in_fp16": ("Add, Div", ("-execute-nodes-in-fp16=Add,Div",)),
    "keep_original_precision_for_nodes": (["Add"], ("-keep-original-precision-for-nodes=Add",)),
    "quantization_precision": ("Int8", ("-quantization-precision=Int8",)),
    "aic_profiling_type": ("stats", ("-aic-profiling-type=stats",)),
}
BAD: list[tuple[str, Any]] = [
    ("mos", 0),
    ("mos", True),
    ("mos", []),
    ("mos", [1, -1]),
    ("mos", "many"),
    ("ols", 1.5),
    ("aic_depth_first_mem", 7),
    ("aic_depth_first_mem", 33),
    ("allocator_dealloc_delay", -1),
    ("size_split_granularity", 4096),
    ("percentile_calibration_value", 89.9),
    ("vtcm_working_set_limit_ratio", float("nan")),
    ("multicast_weights", 1),
    ("combine_inputs", "false"),
    ("quantization_schema", "round"),
    ("execute_nodes_in_fp16", []),
    ("execute_nodes_in_fp16", ["Add", 3]),
    ("aic_pmu_events", ["e"] * 9),
    ("dump_profile", ""),
    ("node_precision_info", True),
    ("raw_compiler_flags", "-x"),
    ("raw_compiler_flags", ["x"]),
]


@pytest.mark.parametrize("name", GOOD)
def test_a_good_value_becomes_a_flag(name: str) -> None:
    value, flags = GOOD[name]
    assert render(name, parse({name: value}).flags[name]) == flags


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_with_what_is_allowed(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        parse({name: value})
    assert name in str(caught.value) and caught.value.allowed and caught.value.do


@pytest.mark.parametrize(("name", "value"), [("mos", -1), ("mos", None), ("multicast_weights", False), ("ols", None)])
def test_what_leaves_a_flag_out(name: str, value: Any) -> None:
    assert parse({name: value}) == parse({})


def test_an_unknown_name_names_the_nearest_and_the_way_out() -> None:
    with pytest.raises(OptionError) as caught:
        parse({"mxfp6_matmull": True})
    assert "'mxfp6_matmul'" in caught.value.what
    assert "raw_compiler_flags=['-mxfp6-matmull" in str(caught.value.do)


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_library_sets_is_refused_with_the_keyword(name: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse({name: 1})
    assert str(caught.value.do).startswith("use ")


def test_the_keyword_for_cores_is_num_cores() -> None:
    with pytest.raises(OptionError, match="num_cores="):
        parse({"aic_num_cores": 4})


def test_files_are_kept_apart_and_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    with pytest.raises(OptionError, match=r"nodes\.yaml"):
        parse({"node_precision_info": str(file)})
    file.write_text("FP32NodeInstanceNames: [a]\n")
    options = parse({"node_precision_info": str(file), "mos": 2})
    assert options.files == {"node_precision_info": file}
    assert options.flags == {"mos": 2}


def test_raw_flags_pass_and_their_files_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "new.json"
    file.write_text("{}")
    options = parse({"raw_compiler_flags": ["-new", f"-config={file}"]})
    assert options.raw == ("-new", f"-config={file}")
    assert options.files == {"raw_compiler_flags[1]": file}


def test_quantise_and_profile_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="dump_profile"):
        parse({"convert_to_quantize": True, "dump_profile": str(tmp_path / "profile.yaml")})


def test_what_stands_in_a_file_is_no_flag() -> None:
    assert parse({"mxint8_kv_cache": True}).flags == {"mxint8_kv_cache": True} and parse(
        {"mxint8_kv_cache": False}
    ) == parse({})
    assert not set(OWN) & set(TABLE)
    with pytest.raises(OptionError, match="'mxint8_kv_cache'"):
        parse({"mxint8_kv_cach": True})
    with pytest.raises(OptionError, match="mxint8_kv_cache"):
        parse({"mxint8_kv_cache": 1})


def test_the_order_is_the_callers() -> None:
    assert list(parse({"ols": 1, "mos": 2, "ddr_stats": True}).flags) == ["ols", "mos", "ddr_stats"]


@given(st.dictionaries(st.text(max_size=20), st.none() | st.booleans() | st.integers() | st.text(max_size=5)))
def test_any_keywords_either_pass_or_are_an_option_error(keywords: dict[str, Any]) -> None:
    try:
        options = parse(keywords)
    except OptionError as error:
        assert error.do
    else:
        assert set(options.flags) <= {*TABLE, *OWN}


@pytest.mark.parametrize("name", [*TABLE, *REFUSED])
def test_the_fake_compiler_knows_each_documented_flag(name: str) -> None:
    """Two readings of the vendor's documentation, written apart, agree on the names."""
    flag = name.replace("_", "-")
    assert fake_compiler.known(flag) or flag == "onnx-define-symbol"  # which may be repeated, and is parsed apart


def test_each_line_of_help_is_one_sentence() -> None:
    assert all(re.fullmatch(r"[A-Z0-9].{5,90}\.", option.help) for option in TABLE.values())
    assert not set(TABLE) & set(REFUSED)


def test_the_table_imports_nothing_heavy() -> None:
    tree = ast.parse(Path(card_options.__file__).read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] in {"numpy", "onnx", "torch", "tqdm"}}
