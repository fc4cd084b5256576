"""Whole sentence-transformers repos of twelve families: what ``SentenceTransformer`` gives, row by row.

Every weight is random with a standard deviation of 0.4. One export a family.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from QEfficient import QEFFAutoModel
from tests.family_repos import FAMILIES, LIMIT, Family, texts, write
from tests.parity.test_sentence_transformers import differences

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

TEXTS = texts(33)


@dataclass(frozen=True)
class Pair:
    """Ours and theirs, from the same folder."""

    family: Family
    ours: QEFFAutoModel
    theirs: SentenceTransformer


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    family = FAMILIES[request.param]
    folder = write(family, tmp_path_factory.mktemp(request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        ours = QEFFAutoModel.from_pretrained(folder, pooling="auto")
        ours.compile()
        theirs = SentenceTransformer(str(folder), device="cpu").eval()  # a plain call of it leaves dropout on
        yield Pair(family, ours, theirs)
        ours.close()


def ours(call: Any, batch: int = 33, **keywords: Any) -> np.ndarray:
    """All texts, in batches."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*were shortened, as sentence-transformers does")
        return np.concatenate([call(TEXTS[i : i + batch], **keywords) for i in range(0, len(TEXTS), batch)])


def assert_equal(reference: Any, vectors: np.ndarray) -> None:
    want = np.asarray(reference)
    assert vectors.shape == want.shape and vectors.dtype == np.float32
    cosine, difference = differences(want, vectors)
    assert cosine >= 0.99999
    assert difference <= 1e-5


def test_encode_gives_what_sentence_transformers_gives(pair: Pair) -> None:
    """Alone, 7 and 33 at a time; with each prompt; past the limit; cut to leading dims."""
    lengths = [len(ids) for ids in pair.theirs.tokenizer(TEXTS, truncation=False, verbose=False)["input_ids"]]
    assert min(lengths) < 6 and sum(length > LIMIT for length in lengths) >= 5
    for call in ("encode", "encode_query", "encode_document"):
        reference = getattr(pair.theirs, call)(TEXTS)
        for batch in (1, 7, 33):
            assert_equal(reference, ours(getattr(pair.ours, call), batch))
    whole = {"prompt": "read this " * LIMIT}  # longer than a row may be: no text is left
    assert_equal(pair.theirs.encode(TEXTS, **whole), ours(pair.ours.encode, **whole))
    cut = {"truncate_dim": 8, "normalize_embeddings": True}
    assert_equal(pair.theirs.encode_query(TEXTS, **cut), ours(pair.ours.encode_query, **cut))


@pytest.mark.parametrize("side", ["left", "right"])
def test_both_padding_sides(pair: Pair, side: str) -> None:
    """``generate`` on the arrays that their tokenizer pads, and ``encode``, which pads where it likes.

    A family that counts positions from the first column gives another vector for each number of pads on its left, so
    sentence-transformers' numbers for a row depend on the batch: there ``encode`` is compared with a row alone.
    """
    pair.theirs.tokenizer.padding_side = side
    features = pair.theirs.preprocess(TEXTS)
    arrays = {
        name: value for name, value in features.items() if name in ("input_ids", "attention_mask", "token_type_ids")
    }
    assert (arrays["attention_mask"][:, 0 if side == "left" else -1] == 0).sum() >= 10
    with torch.no_grad():
        reference = pair.theirs(features)["sentence_embedding"]
    assert_equal(reference, pair.ours.generate(arrays)["output"])
    alone = side == "left" and pair.family.absolute
    assert_equal(pair.theirs.encode(TEXTS, batch_size=1 if alone else 33), ours(pair.ours.encode))


def test_a_saved_program_and_fixed_shapes_give_the_same(pair: Pair, tmp_path: Path) -> None:
    vectors = ours(pair.ours.encode_query)
    saved = QEFFAutoModel.from_pretrained(pair.ours.save_pretrained(tmp_path / "saved"), pooling="auto", strict=True)
    assert_equal(vectors, ours(saved.encode_query, 7))
    saved.close()
