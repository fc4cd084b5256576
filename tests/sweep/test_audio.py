"""Audio encoders on every road."""

from pathlib import Path

import pytest

from tests.sweep import runner
from tests.sweep.audio import CASES
from tests.sweep.case import Case


@pytest.mark.parametrize("case", runner.served(CASES))
def test_all_roads_give_huggingface_s_numbers(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.all_roads(case, tmp_path, monkeypatch)


@pytest.mark.parametrize("case", [case for case in CASES if case.refused], ids=lambda case: case.name)
def test_what_can_not_be_right_is_refused_by_name(case: Case) -> None:
    runner.refused(case)
