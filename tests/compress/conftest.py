"""A tiny repo, as the tests of training have it."""

from pathlib import Path

import pytest

from tests.train import small


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return small.repo(tmp_path / "repo")
