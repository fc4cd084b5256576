"""A card's caches are copied through the host, in MXINT8 not at all: nothing that is done for speed copies a slot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from QEfficient import QEFFAutoModelForCausalLM
from tests.generation.tiny_decoders import tiny_decoder
from tests.sdk import make_sdk


@pytest.mark.parametrize("mxint8", [False, True])
def test_prompts_that_begin_alike_are_written_beside_each_other(
    mxint8: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "qti-aic", devices=1, nsp=14).root))
    model = QEFFAutoModelForCausalLM(tiny_decoder("llama", num_hidden_layers=1))
    sizes = {"full_batch_size": 2, "prefill_seq_len": 32, "ctx_len": 96}
    model.compile(backend="qaic", num_cores=4, mxint8_kv_cache=mxint8, verify="off", **sizes)
    alike = list(range(1, 73))  # more than an engine copies from another slot where it can
    together = model.generate(np.array([[*alike, 80], [*alike, 81]]), max_new_tokens=4, min_new_tokens=4)
    assert together.shape == (2, 77)
    assert model.device_report()["work"]["copies"] == 0
    model.close()
