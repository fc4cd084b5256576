"""How well the predicted speed agrees with published measurements, in cross-validation; the plot of the docs.

    python -m benchmarks.predictor [--nested] [--tune] [--plot docs/explanation/predicted_speed.svg]

The first table has the size of relative errors and the share of measurements inside of their 80 % band, each model
counted once: groups are left out one at a time, and everything is fitted again without them, the width of the bands
too. The second has the same for each kind of network. ``--nested`` also finds the scales of the Gaussian process
anew in every fold, so that nothing at all was chosen with the measurements that are predicted (minutes). ``--tune``
prints the scales that are likeliest for all measurements. The third table is about recommendations: the network's own
measurements are held out too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from benchmarks.prediction_errors import GROUPS, Errors, cross_validate, percentiles
from QEfficient.analysis import physics
from QEfficient.analysis.bands import kind
from QEfficient.analysis.physics import Vector
from QEfficient.analysis.predictor import Predictor
from QEfficient.analysis.recommendation import choose
from QEfficient.analysis.regression import log_mean_latency
from QEfficient.analysis.residual import RATE, TAIL, Scales, kernel, noise
from QEfficient.analysis.run import Measurement, Run, measurements

NUMBERS = ("alike", "kind", "ols", "mos", "multicast", "noise", "host_noise")
COLOURS = {"best-throughput": "#0b6e99", "balanced": "#7a5195", "best-latency": "#c8553d"}


def table() -> None:
    """Errors by group, each group left out in turn."""
    print("| held out together | groups | samples/s: median | 90 % | 95 % | latency: median | 90 % | 95 % | in band |")
    print("|---|---|---|---|---|---|---|---|---|")
    measured = measurements()
    for name, key in GROUPS.items():
        show(name, len({key(one) for one in measured}), cross_validate(measured, name, None))


def show(name: str, groups: int, found: Errors) -> None:
    """One row of the table."""
    sizes = (*percentiles(found.relative), *percentiles(found.relative_latency))
    inside = ", ".join(f"{share:.0%}" for share in found.inside)
    print(f"| {name} | {groups} | {' | '.join(f'{value:.1%}' for value in sizes)} | {inside} |", flush=True)


def kinds() -> None:
    """Each pair of layers and widths, left out with all its models; then how far the share in band is to be trusted."""
    print("| layers, width, inner width | models | samples/s: median | latency: median | in band |")
    print("|---|---|---|---|---|")
    measured = measurements()
    found = cross_validate(measured, "layers and width", None)
    keys = [kind(one.run) for one in measured]
    shares = {}
    for name in sorted(set(keys)):
        rows = np.array([key == name for key in keys])
        models = tuple(model for model, row in zip(found.models, rows, strict=True) if row)
        columns = (getattr(found, field.name)[rows] for field in fields(found) if field.name != "models")
        part = Errors(models, *columns)
        shares[name] = (len(set(models)), *part.inside)
        off, late = percentiles(part.relative)[0], percentiles(part.relative_latency)[0]
        inside = ", ".join(f"{share:.0%}" for share in part.inside)
        print(f"| {', '.join(map(str, name))} | {shares[name][0]} | {off:.1%} | {late:.1%} | {inside} |", flush=True)
    drawn = np.array(list(shares.values()))[np.random.default_rng(0).integers(0, len(shares), (10_000, len(shares)))]
    for column, figure in ((1, "samples/s"), (2, "latency")):
        means = (drawn[..., 0] * drawn[..., column]).sum(axis=1) / drawn[..., 0].sum(axis=1)
        low, high = np.percentile(means, [5, 95])
        print(f"{figure}: in nine of ten draws of as many kinds, with replacement, {low:.0%} to {high:.0%} are in band")


def log_likelihood(runs: Sequence[Run], errors: Vector, scales: Scales) -> float:
    """How well the scales explain the errors, up to a constant; what tuning maximises."""
    covariance = kernel(runs, runs, scales) + np.diag(noise(runs, scales))
    _, determinant = np.linalg.slogdet(covariance)
    return float(-0.5 * errors @ np.linalg.solve(covariance, errors) - 0.5 * determinant)


def tuned(measured: Sequence[Measurement]) -> tuple[Scales, Scales]:
    """The likeliest scales for the rate and the tail of latency."""
    runs = [one.run for one in measured]
    rates = np.log([one.samples_per_second for one in measured])
    errors = rates - physics.log_rate(physics.fit(runs, np.exp(rates)), physics.work(runs))
    tails = np.log([one.latency_ms for one in measured]) - log_mean_latency(runs, rates)
    return likeliest(runs, errors, RATE), likeliest(runs, tails - np.median(tails), TAIL)


def likeliest(runs: Sequence[Run], errors: Vector, start: Scales) -> Scales:
    """Climbs from a neutral start, one scale at a time, in shrinking steps.

    A scale that is far from the start for no gain is drawn back (a normal prior, one step of e wide).
    """
    neutral = np.log([start.alike, *[start.alike / 5] * 4, *[start.alike / 2.5] * 2, *[2.0] * len(start.lengths)])

    def scales(point: Vector) -> Scales:
        values = [float(value) for value in np.exp(point)]
        numbers = dict(zip(NUMBERS, values[: len(NUMBERS)], strict=True))
        return replace(start, **numbers, lengths=tuple(values[len(NUMBERS) :]))

    def score(point: Vector) -> float:
        return log_likelihood(runs, errors, scales(point)) - 0.5 * float(np.sum((point - neutral) ** 2))

    point, best, step = neutral, score(neutral), 0.5
    while step > 0.1:
        before = best
        for unit in np.eye(len(point)):
            for trial in (point + step * unit, point - step * unit):
                if (value := score(trial)) > best:
                    point, best = trial, value
        if best - before < 0.1:
            step /= 2
    return scales(point)


def nested() -> None:
    """The table's first and third row with scales that each fold finds for itself."""
    print("| held out together, scales found in each fold | groups | samples/s: median | 90 % | 95 % | latency … |")
    fit: Callable[[Sequence[Measurement]], Predictor] = lambda seen: Predictor(seen, *tuned(seen))  # noqa: E731
    for name in ("model", "architecture"):
        groups = len({GROUPS[name](one) for one in measurements()})
        show(name, groups, cross_validate(measurements(), name, 10, 0, fit))


def recommendations() -> None:
    """The options chosen for each network without its measurements, beside the best that were published for it."""
    measured = measurements()
    print("| objective | networks | same cores × instances | predicted within 5 % of the published best | 10 % |")
    print("|---|---|---|---|---|")
    key = GROUPS["architecture and task"]
    for objective in ("best-throughput", "best-latency"):
        rows = [one for one in measured if one.objective == objective]
        found = []
        for network in sorted({key(one) for one in rows}, key=repr):
            published = [one for one in rows if key(one) == network]
            quick = objective == "best-latency"
            best = min(published, key=lambda one: one.latency_ms if quick else -one.samples_per_second)
            predictor = Predictor([one for one in measured if key(one) != network])
            run = choose(predictor, best.run, objective.removeprefix("best-"))
            rate, _, latency, _ = predictor.regression.logs([run])
            reached = best.latency_ms / np.exp(latency[0]) if quick else np.exp(rate[0]) / best.samples_per_second
            same = (run.num_cores, run.instances) == (best.run.num_cores, best.run.instances)
            found.append((same, reached >= 0.95, reached >= 0.90))
        shares = " | ".join(f"{share:.0%}" for share in np.mean(found, axis=0))
        print(f"| {objective} | {len(found)} | {shares} |", flush=True)


def plot(path: Path) -> None:
    """Predicted against published, both quantities, each measurement predicted without its model."""
    measured, found = measurements(), cross_validate(measurements(), "model", None)
    panels = (
        ("samples per second", found.samples_per_second, [one.samples_per_second for one in measured]),
        ("latency, ms", found.latency_ms, [one.latency_ms for one in measured]),
    )
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 910 460" font-family="sans-serif" font-size="13">']
    parts.append('<rect width="910" height="460" fill="#fff"/>')
    for index, (title, predicted, published) in enumerate(panels):
        parts += panel(80 + 440 * index, title, predicted, np.array(published), [one.objective for one in measured])
    for index, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<circle cx="{90 + 140 * index}" cy="447" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{100 + 140 * index}" y="451">{name}</text>')
    parts.append('<text x="530" y="451">lines: equal, and 25 % off on either side</text></svg>')
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def panel(left: int, title: str, predicted: Vector, published: Vector, objectives: Sequence[str]) -> list[str]:
    """One square with logarithmic axes, as SVG."""
    top, size = 40, 350
    low = np.floor(np.log10(min(predicted.min(), published.min())))
    high = np.ceil(np.log10(max(predicted.max(), published.max())))

    def at(value: float) -> float:
        return float(size * (np.log10(value) - low) / (high - low))

    parts = [f'<text x="{left + size / 2}" y="24" text-anchor="middle" font-size="15">{title}</text>']
    parts.append(f'<clipPath id="c{left}"><rect x="{left}" y="{top}" width="{size}" height="{size}"/></clipPath>')
    for power in range(int(low), int(high) + 1):
        step = at(10.0**power)
        x, y, label = left + step, top + size - step, f"{10.0**power:,.{max(0, -power)}f}"
        parts.append(f'<path d="M{x:.1f} {top}V{top + size}M{left} {y:.1f}H{left + size}" stroke="#ddd" fill="none"/>')
        parts.append(f'<text x="{x:.1f}" y="{top + size + 17}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    parts.append(f'<g clip-path="url(#c{left})">')
    for factor, dash in ((1.0, ""), (1.25, ' stroke-dasharray="4 4"'), (0.75, ' stroke-dasharray="4 4"')):
        shift = at(10.0**low * factor) if factor >= 1 else -at(10.0**low / factor)
        line = f"M{left} {top + size - shift:.1f}l{size} {-size}"
        parts.append(f'<path d="{line}" stroke="#555" fill="none"{dash}/>')
    for objective, colour in COLOURS.items():
        dots = [
            f"M{left + at(x):.1f} {top + size - at(y):.1f}h0"
            for x, y, one in zip(published, predicted, objectives, strict=True)
            if one == objective
        ]
        style = f'stroke="{colour}" stroke-width="5" stroke-linecap="round" stroke-opacity="0.6"'
        parts.append(f'<path d="{"".join(dots)}" {style} fill="none"/>')
    parts.append("</g>")
    parts.append(f'<text x="{left + size / 2}" y="{top + size + 36}" text-anchor="middle">published</text>')
    x, y = left - 62, top + size / 2
    parts.append(f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">predicted</text>')
    return parts


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nested", action="store_true")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    constants = asdict(Predictor(measurements()).regression.constants)
    print(f"Constants: { {name: float(f'{value:.3g}') for name, value in constants.items()} }\n")
    table()
    print()
    kinds()
    print()
    recommendations()
    if args.nested:
        print()
        nested()
    if args.tune:
        print("\nLikeliest scales:", *tuned(measurements()), sep="\n")
    if args.plot:
        plot(args.plot)


if __name__ == "__main__":
    main()
