"""What every test shares: its own cache, no network, no SDK of this machine."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "qeff_home"))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(tmp_path / "no-sdk"))  # a real SDK must not take part
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("XDG_CACHE_HOME", "QEFF_BACKEND", "QEFF_COMPILE_TIMEOUT", "QAIC_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
