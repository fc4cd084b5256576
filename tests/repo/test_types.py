"""The library passes a strict type checker."""

from tests.repo.conftest import Child


def test_mypy_strict(child: Child) -> None:
    child(["-m", "mypy", "--strict"])
