"""The list of counted architectures: enough of them, each a case of the sweep, and no difference without a reason."""

from tests.sweep import counts
from tests.sweep.all_cases import CASES


def test_at_least_ten_architectures_agree_without_any_allowance() -> None:
    plain = [name for name, known in counts.KNOWN.items() if known == counts.Difference()]
    cases = {case.name: case for case in CASES if not case.refused}
    assert set(counts.KNOWN) <= set(cases)
    assert len({cases[name].model_type for name in plain}) >= 10
    assert {cases[name].kind for name in plain} >= {"text encoder", "text decoder", "encoder half", "vision", "audio"}


def test_every_difference_says_why() -> None:
    assert all(known.why for known in counts.KNOWN.values() if known != counts.Difference())
