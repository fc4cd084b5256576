"""What a search over codes finds of MiniLM's nearest neighbours, over 2,000 real snippets."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks import vectors as benchmark
from QEfficient import QEFFAutoModel, QuantizedEmbeddings
from tests.repo.source import ROOT

PAGE = ROOT / "docs" / "how-to" / "search_quantised_vectors.md"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> QEFFAutoModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        return benchmark.compiled()


@pytest.mark.slow
def test_recall_of_each_form_over_2000_snippets(model: QEFFAutoModel) -> None:
    texts = benchmark.shuffled_texts()
    corpus, queries = (model.encode(part) for part in (texts[:2000], texts[-200:]))
    nearest = benchmark.best(queries @ corpus.T)
    found = {name: benchmark.recall(nearest, form.search(queries)) for name, form in benchmark.forms(corpus).items()}
    assert found["int8"] >= 0.98 and found["uint8"] >= 0.98
    assert found["int8, rescored with float32"] == found["float32"] == 1.0
    assert found["int8, product of the bytes"] < 0.7  # the trap: bytes are no vectors
    assert found["int8 of one symmetric range, product of the bytes"] > 0.96
    assert 0.3 < found["ubinary, Hamming distance alone"] < found["ubinary"] - 0.05
    assert found["ubinary, 10 × 4 rescored with int8"] > found["ubinary"] + 0.1
    assert found["ubinary, 10 × 10 rescored with float32"] > 0.85

    # What encode makes by itself is what was measured.
    ranges = np.vstack([corpus.min(axis=0), corpus.max(axis=0)])
    codes = model.encode(texts[:300], precision="int8", ranges=ranges)
    assert np.array_equal(codes, QuantizedEmbeddings.from_embeddings(corpus, "int8").codes[:300])


def test_the_page_states_what_is_promised() -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE)
    recalls = {name.strip(): (float(small), float(large)) for name, _, small, large in rows}
    assert min(recalls["int8"]) >= 0.98 and max(recalls["int8, product of the bytes"]) < 0.7
    assert recalls.keys() == benchmark.forms(np.ones((20, 256), np.float32)).keys()
