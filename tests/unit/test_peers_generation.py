"""What the comparison of generation with peers rests on: answers, ratios, bounds, forms, and the page."""

import math
import os
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.side_by_side.contenders import OURS, chosen
from benchmarks.side_by_side.environments import ENVIRONMENTS
from benchmarks.side_by_side.process import Worker, WorkerError
from benchmarks.side_by_side.ratios import by_round
from benchmarks.side_by_side.report import BEGIN, END
from benchmarks.side_by_side.writing import converters, figures, report, writers
from benchmarks.side_by_side.writing.agreement import agreement, answers, first_difference, until_the_end
from benchmarks.side_by_side.writing.bandwidth import probes
from benchmarks.side_by_side.writing.contenders import AUTHORS, FORMS, REFERENCE, Author, needed, sittings
from tests.repo.source import ROOT

SECONDS = st.floats(1e-3, 1e3)
IDS = st.lists(st.integers(0, 4), max_size=8)

PARROT = """
import sys, time
from types import SimpleNamespace
from benchmarks.side_by_side.worker import own_channel, serve

def write(rows, new):
    if not rows:
        raise ValueError("no prompts")
    return [row[-1:] * new for row in rows], time.perf_counter()

serve(lambda: SimpleNamespace(write=write), sys.stdin, own_channel())
"""


# --------------------------------------------------------------------------------------------------- the contenders


def test_everybody_has_an_environment_a_loader_and_a_form_that_somebody_makes() -> None:
    assert len({one.name for one in AUTHORS}) == len(AUTHORS) and REFERENCE in {one.name for one in AUTHORS}
    for one in AUTHORS:
        assert one.environment in {OURS, *ENVIRONMENTS} and one.weights
        module, _, name = one.loader.rpartition(".")
        assert module == "writing.writers" and callable(getattr(writers, name))
        assert one.form is None or one.form in FORMS
    for environment, _, (converter, *_) in FORMS.values():
        assert environment in {OURS, *ENVIRONMENTS} and callable(getattr(converters, converter))
    assert set(needed(AUTHORS)) == {"transformers", "onnx", "openvino", "onnxruntime-genai", "llama.cpp"}
    assert needed([one for one in AUTHORS if one.ours]) == []


def test_words_choose_full_names_first() -> None:
    full = [one.name for one in chosen(AUTHORS, ["QEfficient, onnxruntime"])]
    part = [one.name for one in chosen(AUTHORS, ["ort-genai", REFERENCE])]
    assert full == ["QEfficient, onnxruntime"] and len(part) == 4 and REFERENCE in part
    assert chosen(AUTHORS, []) == list(AUTHORS)


def test_the_reference_sits_with_those_of_few_bits_too() -> None:
    wide, rest = ([one.name for one in sitting] for sitting in sittings(AUTHORS))
    assert set(wide) & set(rest) == {REFERENCE} and len(wide) + len(rest) == len(AUTHORS) + 1
    assert len(sittings(chosen(AUTHORS, ["ort-genai fp32", REFERENCE]))) == 1


def test_the_bytes_that_a_token_reads_are_those_of_the_files_but_what_is_looked_up(tmp_path: Path) -> None:
    for name, size in (("a.bin", 600), ("b.bin", 400), ("config.json", 5000)):
        (tmp_path / name).write_bytes(bytes(size))
    assert Author("a", "e", "l", weights="*.bin").read(tmp_path) == 1000
    assert Author("a", "e", "l", weights="*.bin", share=0.5, less=200).read(tmp_path) == 400


# ----------------------------------------------------------------------------------------------------- what is asked


def test_a_writer_answers_with_ids_and_times() -> None:
    worker = Worker([sys.executable, "-c", PARROT], os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        found = worker.ask("write", rows=[[1, 2], [3]], new=3)
        assert found["ids"] == [[2, 2, 2], [3, 3, 3]] and 0 <= found["first"] <= found["seconds"] and found["peak"] > 1
        with pytest.raises(WorkerError, match="no prompts"):
            worker.ask("write", rows=[], new=3)
        assert worker.ask("write", rows=[[7]], new=1)["ids"] == [[7]]
    finally:
        worker.close()


def test_first_tokens_are_there_when_every_row_has_one() -> None:
    rows = [[1, 2], [3], [4, 5, 6]]
    each = writers.FirstTokens(rows)
    for grown in ([3, 9], [3, 9, 9], [1, 2, 9]):
        assert not each(np.array([grown]), None).any() and not each.at
    each(np.array([[4, 5, 6, 9]]), None)
    at = each.at
    each(np.array([[4, 5, 6, 9, 9]]), None)
    assert at and each.at == at
    together = writers.FirstTokens()
    assert together(np.array([[0, 1, 2], [3, 4, 5]]), None).tolist() == [False, False] and together.at


def test_shorter_rows_are_padded_on_the_left() -> None:
    ids, mask = writers._padded([[5], [6, 7, 8]])
    assert ids == [[writers.PAD, writers.PAD, 5], [6, 7, 8]] and mask == [[0, 0, 1], [1, 1, 1]]


# --------------------------------------------------------------------------------------------------------- agreement


@given(IDS, IDS)
def test_the_first_difference_is_where_what_is_shared_ends(one: list[int], other: list[int]) -> None:
    place = first_difference(one, other)
    assert place == first_difference(other, one) and (place is None) == (one == other)
    if place is not None:
        assert one[:place] == other[:place] and one[place : place + 1] != other[place : place + 1]


@given(st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=6), min_size=1, max_size=9), st.integers(1, 4))
def test_every_prompt_gets_its_own_answer_whoever_goes_together(prompts: list[list[int]], together: int) -> None:
    asked = []

    def write(rows: list[list[int]], new: int) -> list[list[int]]:
        asked.append(len(rows))
        return [[*row, 2, 8] for row in rows]

    assert answers(write, prompts, 4, together) == [[*row, 2] for row in prompts]
    assert sum(asked) == len(prompts) and max(asked) <= together


def test_agreement_counts_equal_answers_and_shared_beginnings() -> None:
    wanted = [[5, 6, 7, 2], [5, 6], [5, 6, 7, 8]]
    found = agreement(wanted, [[5, 6, 7, 2], [9, 6], [5, 6, 9, 8]])
    assert found == {"equal": 1 / 3, "prefix": pytest.approx((1 + 0 + 0.5) / 3), "first": 1.0}
    assert agreement(wanted, wanted) == {"equal": 1.0, "prefix": 1.0, "first": None}
    assert until_the_end([4, 2, 9]) == [4, 2] and until_the_end([4, 9]) == [4, 9]


# ------------------------------------------------------------------------------------------------- ratios and bounds


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=7))
def test_ratios_are_those_of_the_rounds(pairs: list[tuple[float, float]]) -> None:
    found = by_round([ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    each = sorted(theirs / ours for ours, theirs in pairs)
    assert found.least == each[0] and each[0] <= found.median <= each[-1]
    with pytest.raises(ValueError, match="no pairs"):
        by_round([1.0], [])


def test_memory_is_read_at_some_rate() -> None:
    found = probes(1, size=4_000_000)
    assert len(found) == 3 and all(1e6 < rate < math.inf for rate in found.values())


def made_up(name: str, bits: int, seconds: float, parts: list[int | None], **more: Any) -> dict[str, Any]:
    cases = ("A", "C")
    return {
        "name": name,
        "ours": name.startswith("QEfficient"),
        "bits": bits,
        "read": 100e6 * bits / 32,
        "peak": 500.0,
        "seconds": {case: [seconds, 2 * seconds, seconds] for case in cases},
        "first": {case: [seconds / 4] * 3 for case in cases},
        "reference": {"seconds": dict.fromkeys(cases, [4.0, 8.0, 4.0]), "first": dict.fromkeys(cases, [1.0] * 3)},
        "parts": {"A": parts[:1], "C": parts},
        "steady": dict.fromkeys(cases, True),
    } | more


FOUND = {
    "date": "2026-01-02 03:04 UTC",
    "machine": {"cpu": "A & B", "cpus": 2, "threads": 2, "has": ["avx2"], "memory_gb": 8, "python": "3.11"},
    "versions": {"here": {"numpy": "2.0"}},
    "rounds": 3,
    "cases": {"A": {"rows": 1, "new": 128}, "C": {"rows": 2, "new": 64}},
    "bandwidth": [
        {"1": {"sum, read": 1e10, "copy, read and write": 9e10}, "2": {"sum, read": rate, "copy, read and write": 9e10}}
        for rate in (1e10, 2e10, 1e10)
    ],
    "contenders": [
        made_up(REFERENCE, 32, 4.0, [None, None]),
        made_up("ort-genai fp32", 32, 2.0, [None, None]),
        made_up("quick but other", 32, 0.1, [None, 7]),
        made_up("quick but changing", 32, 0.1, [None, None], steady={"A": False, "C": False}),
        made_up("ort-genai int4", 4, 0.5, [3, None]),
        made_up("QEfficient, one", 32, 1.0, [None, None]),
        made_up("QEfficient, other", 32, 1.6, [None, None]),
        made_up("QEfficient, int4", 4, 1.0, [4, 5]),
    ],
    "left_out": {"absent": "no such thing"},
    "agreement": {
        "date": "2026-01-01",
        "prompts": 200,
        "new": 64,
        "contenders": {
            "ort-genai int4": {"equal": 0.25, "prefix": 0.5, "first": 12.0, "bits": 4},
            "QEfficient, int4": {"equal": 1.0, "prefix": 1.0, "first": None, "bits": 4},
        },
    },
}


def test_the_bound_is_the_best_reading_over_the_bytes_of_a_token() -> None:
    reference = figures.one_of(FOUND, REFERENCE)
    assert reference and figures.bound(FOUND, reference) == 2e10 / 100e6
    assert figures.rates(FOUND, reference, "C") == [32.0, 16.0, 32.0]
    assert figures.rates_after_first(FOUND, reference, "C") == pytest.approx([126 / 3, 126 / 7, 126 / 3])


def test_only_exact_ones_are_compared_as_exact() -> None:
    def pair(*wanted: Any) -> tuple[str, str, float] | None:
        found = figures.compared(FOUND, figures.Comparison(*wanted))
        return found and (found[0]["name"], found[1]["name"], found[2].median)

    assert pair(32, "A", "seconds", None) == ("QEfficient, one", "quick but other", pytest.approx(0.1))
    assert pair(32, "C", "seconds", None) == ("QEfficient, one", "ort-genai fp32", 2.0)
    assert pair(32, "C", "first", REFERENCE) == ("QEfficient, one", REFERENCE, 4.0)
    assert pair(4, "A", "seconds", "ort-genai int4") == ("QEfficient, int4", "ort-genai int4", 0.5)
    assert pair(8, "A", "seconds", None) is None and pair(32, "B", "first", None) is None


def test_tokens_are_told_by_their_first_difference_or_by_rows() -> None:
    words = {one["name"]: [figures.tokens_in_words(one, case) for case in "AC"] for one in FOUND["contenders"]}
    assert words["ort-genai int4"] == ["from 3", "1 of 2"] and words[REFERENCE] == ["equal", "equal"]
    assert words["quick but changing"] == ["equal, changing"] * 2 and words["QEfficient, int4"][1] == "0 of 2"


def test_the_page_and_its_plots_are_written_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / report.PAGE
    page.write_text(f"# Speed\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    report.write_docs(FOUND, tmp_path)
    report.write_docs(FOUND, tmp_path)
    text = page.read_text()
    assert "old" not in text and text.endswith("after\n") and "absent (no such thing)" in text
    ours = [
        [cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines() if "**QEfficient, one**" in line
    ]
    assert ours[0] == ["equal", "128.0", "169.3", "4.00 (≥ 4.00)", "0.250", "4.00 (≥ 4.00)"]
    assert ours[2] == ["500", "100", "200", "85%", "85%"]
    assert ours[3:] == [
        ["A, all", "ort-genai fp32", "2.00 (≥ 2.00)"],
        ["A, all", "the best exact peer: quick but other", "0.10 (≥ 0.10)"],
        ["C, all", "ort-genai fp32", "2.00 (≥ 2.00)"],
        ["C, all", "the best exact peer: ort-genai fp32", "2.00 (≥ 2.00)"],
    ]
    assert "| **QEfficient, int4** | 4 | 100.0% | 100.0% |  |" in text
    drawings = {name: (tmp_path / name).read_text() for name in report.PLOTS}
    assert {drawing.count("<rect") - 1 for drawing in drawings.values()} == {2 * len(FOUND["contenders"])}
    assert all("&amp;" in drawing for drawing in drawings.values())


# ------------------------------------------------------------------------------------------------------------- forms


def test_a_gguf_file_keeps_its_keys_when_its_matrices_are_widened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.gguf"
    writer = gguf.GGUFWriter(source, "llama")
    writer.add_block_count(2)
    writer.add_token_list(["a", "b"])
    rng = np.random.default_rng(0)
    matrix, vector = rng.standard_normal((4, 64)).astype(np.float32), np.ones(64, np.float32)
    kind = gguf.GGMLQuantizationType.Q4_1
    packed = gguf.quants.quantize(matrix, kind)
    writer.add_tensor("matrix", packed, raw_dtype=kind)
    writer.add_tensor("vector", vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    monkeypatch.setenv(converters.GGUF, str(source))
    wanted = gguf.quants.dequantize(packed, kind)
    for name, dtype in (("f32", np.float32), ("f16", np.float16)):
        converters.llama_cpp(tmp_path, tmp_path / name, name)
        read = gguf.GGUFReader(tmp_path / name / "model.gguf")
        assert read.fields["llama.block_count"].contents() == 2
        assert read.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
        tensors = {tensor.name: tensor.data for tensor in read.tensors}
        assert tensors["matrix"].dtype == dtype and np.array_equal(tensors["matrix"], wanted.astype(dtype))
        assert tensors["vector"].dtype == np.float32
    converters.llama_cpp(tmp_path, tmp_path / "same", "shipped")
    assert (tmp_path / "same" / "model.gguf").read_bytes() == source.read_bytes()


def test_an_older_copy_is_what_transformers_4_reads_for_as_long_as_it_is_used(tmp_path: Path) -> None:
    source, target = tmp_path / "model", tmp_path / "older"
    source.mkdir()
    (source / "config.json").write_text('{"rope_parameters": {"rope_theta": 7.0}, "dtype": "float32", "x": 1}')
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend", "y": 2}')
    (source / "weights").write_text("w")
    with converters.older(source, target) as folder:
        assert (folder / "weights").read_text() == "w"
        assert (folder / "config.json").read_text() == '{"x": 1, "rope_theta": 7.0, "torch_dtype": "float32"}'
        assert (
            folder / "tokenizer_config.json"
        ).read_text() == '{"tokenizer_class": "PreTrainedTokenizerFast", "y": 2}'
    assert not target.exists() and "rope_parameters" in (source / "config.json").read_text()
