"""All cases of the sweep, in the order of the docs' table."""

from __future__ import annotations

from tests.sweep import text_encoders
from tests.sweep.case import Case

CASES: tuple[Case, ...] = (*text_encoders.CASES,)
