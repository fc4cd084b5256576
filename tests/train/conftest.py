"""One tiny repo for all tests of the room."""

from pathlib import Path

import pytest

from tests.train import small


@pytest.fixture(scope="session")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.repo(tmp_path_factory.mktemp("train") / "tiny")
