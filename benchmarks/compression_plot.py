"""A comparison as one drawing for the documents: quality against speed, a number a model, its name below."""

from __future__ import annotations

import math
from html import escape

from QEfficient.evaluate.comparison.record import ComparedModel, ModelComparison
from QEfficient.report.scale import Scale, around

WIDTH, HEIGHT = 640, 420
_LEFT, _TOP, _LINE, _RADIUS = 64, 24, 19, 9
OURS, BEATEN = "#0b6e99", "#a9b4bb"  # on the Pareto front, and not


def plot(found: ModelComparison) -> str:
    """The main metric with its interval against rows a second; filled with colour: the Pareto front."""
    known = [(place, one) for place, one in enumerate(found.models) if one.front is not None]
    x = around(_rate(one) for _, one in known)
    y = around(end for _, one in known for end in (one.metrics[0].low, one.metrics[0].high, one.metrics[0].value))
    bottom = _TOP + HEIGHT
    height = bottom + 56 + _LINE * len(known)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + _LEFT + 20} {height}" '
        f'width="{WIDTH + _LEFT + 20}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH + _LEFT + 20}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(found.models[0].metrics[0].name)}</text>',
        f'<text x="{_LEFT + WIDTH}" y="{bottom + 34}" text-anchor="end" font-weight="bold">texts a second</text>',
    ]
    for tick in y.ticks:
        level = _down(y, tick)
        parts.append(f'<path d="M{_LEFT} {level:.1f}H{_LEFT + WIDTH}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{level + 4:.1f}" text-anchor="end" fill="#555">{tick:g}</text>')
    for tick in x.ticks:
        parts.append(f'<path d="M{_along(x, tick):.1f} {_TOP}V{bottom}" stroke="#e6e6e6"/>')
        parts.append(
            f'<text x="{_along(x, tick):.1f}" y="{bottom + 16}" text-anchor="middle" fill="#555">{tick:g}</text>'
        )
    points = [(_along(x, _rate(one)), _down(y, one.metrics[0].value)) for _, one in known]
    for (place, one), point, spot in zip(known, points, _apart(points), strict=True):
        parts += _mark(place, one, y, point, spot)
    for line, (place, one) in enumerate(known):
        level = bottom + 52 + _LINE * line
        parts.append(f'<circle cx="{_LEFT}" cy="{level - 4}" r="{_RADIUS}" fill="{_colour(one)}"/>')
        parts.append(f'<text x="{_LEFT}" y="{level}" text-anchor="middle" fill="#fff">{place + 1}</text>')
        parts.append(f'<text x="{_LEFT + 18}" y="{level}">{escape(one.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _apart(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the numbers stand: at their points, or below where another one is in the way."""
    placed: list[tuple[float, float]] = []
    for across, level in points:
        while any(math.dist((across, level), other) < 2 * _RADIUS + 1 for other in placed):
            level += _RADIUS
        placed.append((across, level))
    return placed


def _mark(place: int, one: ComparedModel, y: Scale, point: tuple[float, float], spot: tuple[float, float]) -> list[str]:
    quality, (across, level) = one.metrics[0], spot
    parts = []
    if not math.isnan(quality.low):
        ends = f"{_down(y, quality.low):.1f}V{_down(y, quality.high):.1f}"
        parts.append(f'<path d="M{across:.1f} {ends}" stroke="{_colour(one)}" stroke-opacity=".5"/>')
    parts.append(f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3" fill="{_colour(one)}"/>')
    parts.append(f'<circle cx="{across:.1f}" cy="{level:.1f}" r="{_RADIUS}" fill="{_colour(one)}"/>')
    parts.append(f'<text x="{across:.1f}" y="{level + 4:.1f}" text-anchor="middle" fill="#fff">{place + 1}</text>')
    return parts


def _rate(one: ComparedModel) -> float:
    return 0.0 if one.measured.speed is None else one.measured.speed.rate


def _colour(one: ComparedModel) -> str:
    return OURS if one.front else BEATEN


def _along(scale: Scale, value: float) -> float:
    return _LEFT + WIDTH * scale.at(value) / 100


def _down(scale: Scale, value: float) -> float:
    return _TOP + HEIGHT * (1 - scale.at(value) / 100)
