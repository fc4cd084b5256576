"""The card's backend, over the fake SDK, held to the common suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from QEfficient.backends.base import Backend
from QEfficient.backends.qaic import QaicBackend
from tests.backends.conformance import BackendConformance
from tests.backends.qaic.conftest import Remembering
from tests.sdk import make_sdk


class Conformance(BackendConformance):
    tolerance = 1e-2  # fp16, on random weights that are not scaled as a trained model's are
    generation = "new"

    @pytest.fixture
    def backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: Remembering) -> Backend:
        # several devices: a second session, and a forked child, need cores beside the first one's
        monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", generation=self.generation, devices=3).root))
        return QaicBackend(runner=runner)

    @pytest.fixture
    def absent(self) -> Backend:
        return QaicBackend()  # the settings name a folder that is not there


class TestNewSdk(Conformance):
    pass


class TestOldSdk(Conformance):
    generation = "old"
