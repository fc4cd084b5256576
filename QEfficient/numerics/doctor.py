"""The fp16 doctor: which numbers of a graph leave fp16's range, and the smallest cure."""

from __future__ import annotations

from QEfficient.numerics.diagnosis import Finding
from QEfficient.numerics.first_bad import first_bad

__all__ = ["Finding", "first_bad"]
