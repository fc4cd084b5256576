"""The search over codes: it ranks by what the codes stand for, block by block, and refuses what does not fit."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sentence_transformers.util import semantic_search

from QEfficient import QuantizedEmbeddings, quantize_embeddings
from QEfficient.errors import CacheError, CorruptArtefactError, InputError, OptionError, UsageError
from QEfficient.inference import nearest
from QEfficient.inference.quantization import CODES, SCALAR, dequantize_embeddings

RNG = np.random.default_rng(3)
VECTORS = RNG.normal(size=(150, 24)).astype(np.float32) * np.linspace(0.2, 3, 150, dtype=np.float32)[:, None]
QUERIES = RNG.normal(size=(7, 24)).astype(np.float32)
RANGES = np.vstack([VECTORS.min(0), VECTORS.max(0)])
INT8 = QuantizedEmbeddings.from_embeddings(VECTORS, "int8")
BITS = QuantizedEmbeddings.from_embeddings(VECTORS, "binary")

Scores = NDArray[np.float64]


def similarities(queries: Any, vectors: Any, similarity: str) -> Scores:
    queries, vectors = np.asarray(queries, np.float64), np.asarray(vectors, np.float64)
    if similarity == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return queries @ vectors.T


def check(hits: list[list[Any]], want: Scores, top_k: int) -> None:
    """Hits are the largest of all scores, best first, each with its own score."""
    assert len(hits) == len(want)
    for row, scores in zip(hits, want, strict=True):
        found = np.array([hit["score"] for hit in row])
        assert len(row) == min(top_k, len(scores)) == len({hit["corpus_id"] for hit in row})
        assert all(type(hit["corpus_id"]) is int and type(hit["score"]) is float for hit in row)
        assert np.allclose(found, -np.sort(-scores)[: len(row)], rtol=1e-4, atol=1e-4)
        assert np.allclose(found, scores[[hit["corpus_id"] for hit in row]], rtol=1e-4, atol=1e-4)
        assert (np.diff(found) <= 0).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    rows=st.integers(2, 60),
    dim=st.integers(1, 70),
    top_k=st.integers(1, 70),
    precision=st.sampled_from(CODES),
    similarity=st.sampled_from(["cosine", "dot"]),
    block=st.sampled_from([1, 64, 1 << 20]),
)
def test_a_search_ranks_by_what_codes_stand_for(
    seed: int, rows: int, dim: int, top_k: int, precision: str, similarity: str, block: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(1, 2, size=(rows, dim)).astype(np.float32)
    queries = rng.normal(size=(3, dim)).astype(np.float32)
    ranges = np.vstack([vectors.min(0), vectors.max(0)]) if precision in SCALAR else None
    corpus = QuantizedEmbeddings(quantize_embeddings(vectors, precision, ranges), precision, ranges)
    stands_for = dequantize_embeddings(corpus.codes, precision, ranges, dim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK", block)
        patch.setattr(nearest, "QUERIES", 2)
        hits = corpus.search(queries, top_k, similarity=similarity, rescore_multiplier=rows)
        check(hits, similarities(queries, stands_for, similarity), top_k)
        if precision not in SCALAR:
            signs = np.where(queries > 0, 1, -1)
            hits = corpus.search(queries, top_k, similarity=similarity, rescore=False)
            check(hits, similarities(signs, stands_for, similarity), top_k)


def test_equal_codes_come_in_their_order_however_blocks_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    same = QuantizedEmbeddings(np.repeat(BITS.codes[:2], 40, axis=0), "binary")
    whole = same.search(VECTORS[:2], 13, rescore=False)
    assert [[hit["corpus_id"] for hit in row] for row in whole] == [[*range(13)], [*range(40, 53)]]
    monkeypatch.setattr(nearest, "BLOCK", 24 * 7)
    assert same.search(VECTORS[:2], 13, rescore=False) == whole


@pytest.mark.parametrize("precision", CODES)
def test_candidates_are_rescored_with_better_vectors(precision: str) -> None:
    corpus = QuantizedEmbeddings.from_embeddings(VECTORS, precision)
    for similarity in ("cosine", "dot"):
        exact = similarities(QUERIES, VECTORS, similarity)
        hits = corpus.search(QUERIES, 5, similarity=similarity, rescore=VECTORS, rescore_multiplier=30)
        check(hits, exact, 5)
        few = corpus.search(QUERIES, 5, similarity=similarity, rescore=torch.from_numpy(VECTORS), rescore_multiplier=2)
        for row, scores in zip(few, exact, strict=True):
            assert np.allclose([hit["score"] for hit in row], scores[[hit["corpus_id"] for hit in row]], atol=1e-4)
        with_int8 = corpus.search(QUERIES, 5, similarity=similarity, rescore=INT8, rescore_multiplier=30)
        check(with_int8, similarities(QUERIES, dequantize_embeddings(INT8.codes, "int8", RANGES, 24), similarity), 5)


def test_only_candidates_are_read_from_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", VECTORS)
    np.save(tmp_path / "codes.npy", BITS.codes)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    corpus = QuantizedEmbeddings(np.load(tmp_path / "codes.npy", mmap_mode="r"), "binary")
    assert isinstance(corpus.codes, np.memmap)
    assert corpus.search(QUERIES, rescore=mapped) == BITS.search(QUERIES, rescore=VECTORS)


@pytest.mark.parametrize("precision", ["int8", "ubinary"])
def test_no_search_makes_a_float_copy_of_the_corpus(precision: str) -> None:
    ranges = np.array([[-1.0], [1.0]]) if precision == "int8" else None
    codes = RNG.integers(0, 256, (60_000, 384 if ranges is not None else 48), np.uint8)
    corpus = QuantizedEmbeddings(codes.view(np.int8) if ranges is not None else codes, precision, ranges)
    queries = RNG.normal(size=(4, 384)).astype(np.float32)
    tracemalloc.start()
    try:
        for similarity in ("cosine", "dot"):
            assert len(corpus.search(queries, similarity=similarity)) == 4
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24e6  # in float32 they are 92 MB


def test_results_are_shaped_as_those_of_semantic_search() -> None:
    theirs = semantic_search(torch.from_numpy(QUERIES), torch.from_numpy(VECTORS), top_k=4)
    ours = INT8.search(torch.from_numpy(QUERIES), 4)
    for want, got in zip(theirs, ours, strict=True):
        assert [*map(sorted, want)] == [*map(sorted, got)]
        assert np.allclose([hit["score"] for hit in want], [hit["score"] for hit in got], atol=0.02)
    assert [len(row) for row in INT8.search(QUERIES[0], 200)] == [150]
    assert INT8.search(QUERIES[0], np.int64(3)) == INT8.search(QUERIES[:1].tolist(), 3)  # type: ignore[arg-type]
    assert INT8.search(np.zeros((0, 24), np.float32)) == []
    tensors = QuantizedEmbeddings(torch.from_numpy(INT8.codes), "int8", torch.from_numpy(RANGES))  # type: ignore[arg-type]
    assert tensors.search(QUERIES) == INT8.search(QUERIES)


def test_an_empty_corpus_finds_nothing() -> None:
    for empty in (
        QuantizedEmbeddings(INT8.codes[:0], "int8", RANGES),
        QuantizedEmbeddings.from_embeddings(VECTORS[:0], "uint8", RANGES),
        QuantizedEmbeddings.from_embeddings(VECTORS[:0], "ubinary"),
    ):
        assert len(empty) == 0 and empty.search(QUERIES[:2]) == [[], []]


def test_a_dimension_that_never_changes_and_vectors_of_zeros() -> None:
    vectors = VECTORS.copy()
    vectors[:, 4] = 0.25
    vectors[9] = 0
    corpus = QuantizedEmbeddings.from_embeddings(vectors, "int8")
    hits = corpus.search(np.vstack([vectors[:3], np.zeros((1, 24), np.float32)]), 1)
    assert [row[0]["corpus_id"] for row in hits[:3]] == [0, 1, 2]
    assert hits[3][0]["score"] == 0.0
    zeros = QuantizedEmbeddings.from_embeddings(np.zeros((100, 24), np.float32), "int8")
    assert zeros.search(QUERIES[0], 2)[0] == [{"corpus_id": 0, "score": 0.0}, {"corpus_id": 1, "score": 0.0}]


@pytest.mark.parametrize("precision", CODES)
def test_save_and_load(precision: str, tmp_path: Path) -> None:
    corpus = QuantizedEmbeddings.from_embeddings(VECTORS, precision)
    path = corpus.save(tmp_path / "documents.v1")
    assert path == tmp_path / "documents.v1.npz" and os.listdir(tmp_path) == [path.name]
    again = QuantizedEmbeddings.load(path)
    assert again.precision == precision and np.array_equal(again.codes, corpus.codes)
    assert again.search(QUERIES) == corpus.search(QUERIES)
    assert corpus.save(str(path)) == path


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = INT8.save(tmp_path / "documents")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space"):
        BITS.save(path)
    monkeypatch.undo()
    with pytest.raises(CacheError, match=r"The codes could not be written(.|\n)*nowhere/documents.npz: No such file"):
        BITS.save(tmp_path / "nowhere" / "documents")
    assert QuantizedEmbeddings.load(path).precision == "int8" and os.listdir(tmp_path) == ["documents.npz"]


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    whole = INT8.save(tmp_path / "whole").read_bytes()
    np.savez(tmp_path / "other.npz", codes=VECTORS)
    np.savez(tmp_path / "floats.npz", codes=VECTORS, precision=np.array("int8"), ranges=RANGES)
    np.save(tmp_path / "single.npy", VECTORS)
    np.savez(tmp_path / "pickled.npz", codes=np.array([object()]), precision=np.array("int8"))
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "bit.npz").write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
    for name in ("other.npz", "floats.npz", "single.npy", "pickled.npz", "cut.npz", "empty.npz", "bit.npz"):
        with pytest.raises(CorruptArtefactError, match=name):
            QuantizedEmbeddings.load(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        QuantizedEmbeddings.load(tmp_path / "missing.npz")


BAD_QUERY = QUERIES.copy()
BAD_QUERY[2, 5] = np.nan
BAD_VECTORS = VECTORS.copy()
BAD_VECTORS[:, 0] = np.inf


@pytest.mark.parametrize(
    ("error", "match", "call"),
    [
        (InputError, r"queries.*\(7, 23\)(.|\n)*\(q, 24\)", lambda: INT8.search(QUERIES[:, :23])),
        (InputError, "24 dims, or up to 7 fewer", lambda: BITS.search(QUERIES[:, :16])),
        (InputError, "queries is no array(.|\n)*row 2", lambda: INT8.search(BAD_QUERY)),
        (InputError, "queries is no array(.|\n)*int8", lambda: INT8.search(INT8.codes)),
        (InputError, "queries is no array", lambda: INT8.search(["What is it?"])),
        (InputError, "do not fit", lambda: INT8.search(QUERIES[None])),
        (InputError, "row 0", lambda: INT8.search(QUERIES.astype(np.float64) * 1e300)),  # infinite in float32
        (InputError, "one vector a row", lambda: QuantizedEmbeddings.from_embeddings(VECTORS[0], "ubinary")),
        (InputError, "one vector a row", lambda: QuantizedEmbeddings.from_embeddings([], "ubinary")),
        (OptionError, "top_k=0", lambda: INT8.search(QUERIES, 0)),
        (OptionError, "top_k=2.5", lambda: INT8.search(QUERIES, 2.5)),  # type: ignore[arg-type]
        (OptionError, "rescore_multiplier=0", lambda: BITS.search(QUERIES, rescore_multiplier=0)),
        (UsageError, "similarity='euclidean'", lambda: INT8.search(QUERIES, similarity="euclidean")),
        (InputError, r"\(150, 23\)(.|\n)*\(150, 24\)", lambda: BITS.search(QUERIES, rescore=VECTORS[:, 1:])),
        (InputError, r"\(149, 24\)", lambda: BITS.search(QUERIES, rescore=VECTORS[1:])),
        (
            InputError,
            r"\(150, 3\)",
            lambda: INT8.search(QUERIES, rescore=QuantizedEmbeddings(BITS.codes[1:], "binary")),
        ),
        (InputError, "rescore is no array(.|\n)*NaN or inf", lambda: BITS.search(QUERIES, rescore=BAD_VECTORS)),
        (InputError, "rescore is no array(.|\n)*int8", lambda: BITS.search(QUERIES, rescore=INT8.codes)),
        (UsageError, "'int4'", lambda: QuantizedEmbeddings(INT8.codes, "int4")),
        (UsageError, "'float32'", lambda: QuantizedEmbeddings.from_embeddings(VECTORS, "float32")),
        (InputError, "no uint8 codes(.|\n)*int8", lambda: QuantizedEmbeddings(INT8.codes, "uint8", RANGES)),
        (InputError, "float32", lambda: QuantizedEmbeddings(VECTORS, "int8", RANGES)),
        (InputError, r"\(24,\)", lambda: QuantizedEmbeddings(INT8.codes[0], "int8", RANGES)),
        (InputError, "without the ranges", lambda: QuantizedEmbeddings(INT8.codes, "int8")),
        (InputError, r"\(2, 24\)", lambda: QuantizedEmbeddings(INT8.codes, "int8", RANGES[:, 1:])),
        (OptionError, "no ranges", lambda: QuantizedEmbeddings(BITS.codes, "binary", RANGES)),
        (InputError, "row 0", lambda: QuantizedEmbeddings.from_embeddings(BAD_VECTORS, "int8")),
        (OptionError, "single embedding", lambda: QuantizedEmbeddings.from_embeddings(VECTORS[:1], "int8")),
        (OptionError, "embeddings: 0", lambda: QuantizedEmbeddings.from_embeddings(VECTORS[:0], "int8")),
    ],
)
def test_what_does_not_fit_is_refused(error: type[UsageError], match: str, call: Any) -> None:
    with pytest.raises(error, match=match):
        call()
