"""Numbers as text, the same way in the report and in the terminal."""

from __future__ import annotations

import math

from QEfficient.records import LENGTH_DIM, Shape

_LARGE = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """``1234567`` → ``"1.23 M"``; four digits stay as they are; small and huge ones in powers of ten.

    >>> number(22_713_216), number(384), number(0.25), number(6.1e-5), number(float("inf"))
    ('22.7 M', '384', '0.25', '6.1e-05', 'Inf')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
    for size, letter in _LARGE:
        if abs(value) >= size and abs(value) >= 10_000 and abs(value) < 1e18:
            return f"{_plain(value / size)} {letter}"
    return _plain(value)


def size(count: float) -> str:
    """Bytes in decimal units: ``90_868_376`` → ``"90.9 MB"``.

    >>> size(90_868_376), size(512), size(16e9)
    ('90.9 MB', '512 B', '16 GB')
    """
    for bound, letter in _LARGE:
        if abs(count) >= bound:
            return f"{_plain(count / bound)} {letter}B"
    return f"{count:.0f} B"


def share(part: float) -> str:
    """A share of one as per cent; what is there but small is not called 0 %.

    >>> share(0.5), share(0.1234), share(0.0004), share(0)
    ('50 %', '12.3 %', '< 0.1 %', '0 %')
    """
    if 0 < part < 0.001:
        return "< 0.1 %"
    return f"{100 * part:.1f}".removesuffix(".0") + " %"


def count(items: int, name: str) -> str:
    """``1 call``, ``2 calls``.

    >>> count(1, "call"), count(0, "call")
    ('1 call', '0 calls')
    """
    return f"{items} {name}" if items == 1 else f"{items} {name}s"


def label(bucket: Shape) -> str:
    """A bucket's length, with the batch before it where that is not 1.

    >>> label(Shape(128)), label(Shape(128, batch=4)), label(Shape(batch=4))
    ('128', '4 × 128', 'batch 4')
    """
    if LENGTH_DIM not in bucket.sizes:
        return f"batch {bucket.batch}"
    return str(bucket.length) if bucket.batch == 1 else f"{bucket.batch} × {bucket.length}"


def _plain(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 100:
        return f"{value:.0f}" if abs(value) < 1e6 else f"{value:.2e}"
    return f"{value:.3g}"
