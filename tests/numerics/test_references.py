"""HuggingFace's numbers beside a graph: what is written is what is read, within a budget of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from QEfficient.numerics import references
from QEfficient.numerics.verify import Reference, Sample

DTYPES = ("float32", "int64", "bool", "float16")


def reference(seed: int, rows: int, length: int, texts: bool = False) -> Reference:
    rng = np.random.default_rng(seed)
    inputs = {"input_ids": rng.integers(0, 99, (rows, length)), "attention.mask": np.ones((rows, length), np.int64)}
    names = tuple(f"row {row} of {seed}, “quoted” \N{SNOWMAN}" for row in range(rows))
    return Sample(inputs, names, texts), {"output": rng.standard_normal((length, rows)).astype(np.float32).T}


def same(one: Reference, other: Reference) -> bool:
    (left, left_out), (right, right_out) = one, other
    sides = ((left.inputs, right.inputs), (left_out, right_out))
    return (left.names, left.texts) == (right.names, right.texts) and all(
        a.keys() == b.keys() and all(a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]) for name in a)
        for a, b in sides
    )


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.booleans()), min_size=1, max_size=12))
def test_what_is_written_is_read_the_largest_first(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("references")
    written = [reference(seed, *size) for seed, size in enumerate(sizes)]
    references.save(folder, written)
    found = references.load(folder)
    assert len(found) == len(written)
    assert all(sum(same(one, other) for other in found) == 1 for one in written)
    counts = [sample.inputs["input_ids"].size for sample, _ in found]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_order_of_memory(tmp_path: Path, dtype: str) -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    references.save(tmp_path, [(Sample({"x": array}, ("a", "b")), {"y": array[:, ::2]})])
    [(sample, outputs)] = references.load(tmp_path)
    assert np.array_equal(sample.inputs["x"], array) and sample.inputs["x"].dtype == dtype
    assert np.array_equal(outputs["y"], array[:, ::2])


def test_the_budget_keeps_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "MOST_BYTES", 2999)
    written = [reference(seed, 2, length) for seed, length in enumerate((80, 5, 40, 30))]
    references.save(tmp_path, written)
    assert [sample.inputs["input_ids"].shape[1] for sample, _ in references.load(tmp_path)] == [30, 5]
    assert (tmp_path / references.FILE).stat().st_size < 2 * 3000


def test_one_is_kept_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "MOST_BYTES", 1)
    references.save(tmp_path, [reference(0, 2, 9), reference(1, 2, 8)])
    [(sample, _)] = references.load(tmp_path)
    assert sample.inputs["input_ids"].shape == (2, 8)
