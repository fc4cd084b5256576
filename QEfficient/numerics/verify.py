"""``verify``: two ways to run a model, compared on real sentences and on inputs that move what exporters get wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import is_number
from QEfficient.errors import NumericsError, OptionError, VerificationError, nearest
from QEfficient.numerics.check import Array, Comparison, Run, Vectors, check_shapes, figures, vectors
from QEfficient.records import Json, TensorSpec

TOP = 5  # neighbours whose ranks are compared
SHOWN = 5  # worst rows that are kept
HISTOGRAM: tuple[float, ...] = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999, 0.9999999)
"""Inner edges of the cosine's histogram: the first bin is below the first edge, the last at or above the last."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program must hold. ``None`` takes no notice of a figure.

    Attributes:
        min_cosine: Least cosine of a row's vector with the reference's. Of a head's scores, of a batch of them.
        min_mean_cosine: Least mean of these cosines.
        max_difference: Largest absolute difference of a number ÷ the norm of the reference vector. Of a head's scores ÷
            the norm of a batch of them, or 1 if that is less: a sigmoid or softmax behind them sees the difference
            itself, and scores that lie around 0 have no digits to lose.
        min_rank_agreement: Least mean share of a text's five nearest neighbours that are among its nearest in the
            reference. A neighbour that is farther by less than ``1 - min_cosine`` counts as near.
        min_label_agreement: Least share of rows, or tokens, with the reference's label. Those whose two best scores
            lie nearer together than ``max_difference`` of the scores' norm have no label to speak of.
        max_logit_error: Largest absolute difference of a score.
        max_perplexity_change: Of a program that writes text with weights of few bits: how much the perplexity of texts
            may grow, as a share of HuggingFace's.
    """

    min_cosine: float | None = 0.99999
    max_difference: float | None = 5e-5
    min_rank_agreement: float | None = 0.99
    min_label_agreement: float | None = 0.99
    max_logit_error: float | None = None
    min_mean_cosine: float | None = None
    max_perplexity_change: float | None = None

    def tightened(self, share: float) -> Limits:
        """Limits that allow this share of the error that these allow."""

        def of(name: str, value: float | None) -> float | None:
            if value is None:
                return None
            return share * value if name.startswith("max_") else 1 - share * (1 - value)

        return Limits(**{name: of(name, value) for name, value in asdict(self).items()})


LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "fp32": Limits(),
        "bf16": Limits(0.9999, 0.005, 0.98, 0.98),
        "int8": Limits(0.99, 0.1, 0.9, 0.9),
        "int8_weights": Limits(0.997, 0.05, 0.95, 0.95),
        "int4_weights": Limits(0.98, 0.1, 0.9, 0.9),
        "fp16": Limits(0.995, 0.05, 0.9, 0.95),
        "mxint8": Limits(0.99, 0.1, 0.8, 0.9),
        "mxfp6": Limits(0.97, 0.2, 0.7, 0.8),
    }
)
"""The default limits of each precision; the coarsest of a program's counts."""

WRITING_LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "int8_weights": Limits(None, None, None, 0.9, max_perplexity_change=0.05),
        "int8_weights_int8": Limits(None, None, None, 0.85, max_perplexity_change=0.1),
        "int4_weights": Limits(None, None, None, 0.5, max_perplexity_change=0.3),
        "int4_weights_int8": Limits(None, None, None, 0.5, max_perplexity_change=0.3),
    }
)
"""Those of a program that writes text with weights of few bits: what it writes counts, not how far logits moved."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch that both sides run.

    Attributes:
        inputs: Input name → array.
        names: What each row is, for the list of the worst.
        texts: Whether the rows are texts: only then ranks and labels mean something.
    """

    inputs: Mapping[str, Array]
    names: tuple[str, ...]
    texts: bool = False


Reference = tuple[Sample, Mapping[str, Array]]
"""A sample, and what the reference gave for it: output name → array."""


@dataclass(frozen=True, slots=True)
class WorstRow:
    """A row, and how far it is from the reference."""

    row: str
    cosine: float
    difference: float


@dataclass(frozen=True, slots=True)
class Verification:
    """How well a program agrees with its reference.

    Attributes:
        where: What was run: ``"fp32 on the host"``, ``"the card's fp16, emulated"``.
        reference: What it was compared with.
        rows: How many rows were run.
        vectors: How many vectors were compared: one a row, or one a token.
        not_finite: How many of them hold NaN or Inf; they count as cosine -1.
        min_cosine, mean_cosine, max_difference, rank_agreement, label_agreement, max_logit_error, perplexity_change:
            See :class:`Limits`; ``None`` where there is nothing to compare.
        histogram: Vectors a bin of :data:`HISTOGRAM`.
        limits: What had to hold.
        worst: The rows that agree least, the worst first.
    """

    where: str
    reference: str
    rows: int
    vectors: int
    not_finite: int
    min_cosine: float
    mean_cosine: float
    max_difference: float
    rank_agreement: float | None
    label_agreement: float | None
    max_logit_error: float | None
    histogram: tuple[int, ...]
    limits: Limits
    worst: tuple[WorstRow, ...]
    perplexity_change: float | None = None

    @property
    def figures(self) -> tuple[tuple[str, float, float | None, str], ...]:
        """Name, value, limit and how the value has to stand to it, of every figure that was taken."""
        limits = self.limits
        every = (
            ("vectors with NaN or Inf", self.not_finite, 0, "="),
            ("min cosine", self.min_cosine, limits.min_cosine, "≥"),
            ("mean cosine", self.mean_cosine, limits.min_mean_cosine, "≥"),
            ("largest difference ÷ norm", self.max_difference, limits.max_difference, "≤"),
            ("rank agreement", self.rank_agreement, limits.min_rank_agreement, "≥"),
            ("label agreement", self.label_agreement, limits.min_label_agreement, "≥"),
            ("logit error", self.max_logit_error, limits.max_logit_error, "≤"),
            ("perplexity change", self.perplexity_change, limits.max_perplexity_change, "≤"),
        )
        return tuple((name, value, limit, sign) for name, value, limit, sign in every if value is not None)

    @property
    def failures(self) -> tuple[str, ...]:
        """Every limit that does not hold, in words; none: it passed."""
        found = [f"{self.not_finite} of {self.vectors} vectors hold NaN or Inf"] if self.not_finite else []
        for name, value, limit, sign in self.figures:
            if limit is not None and sign == "≥" and value < limit:
                found.append(f"{name} {value:.7g} < {limit:g}")
            elif limit is not None and sign == "≤" and value > limit:
                found.append(f"{name.removesuffix(' ÷ norm')} {value:.3g} > {limit:g}")
        return tuple(found)

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.failures

    def to_json(self) -> dict[str, Json]:
        """For the manifest."""
        return asdict(self) | {"passed": self.passed}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Verification:
        """Of what :meth:`to_json` gave."""
        own = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        own["limits"] = Limits(**own["limits"])
        own["worst"] = tuple(WorstRow(**row) for row in own["worst"])
        return cls(**own | {"histogram": tuple(own["histogram"])})

    def __str__(self) -> str:
        lines = [f"{self.where} against {self.reference}: {'passed' if self.passed else 'FAILED'}, {self.rows} rows"]
        for name, value, limit, sign in self.figures:
            lines.append(f"  {name:<27}{value:<15.9g}" + ("" if limit is None else f"limit {sign} {limit:g}"))
        lines += [f"  worst: {row.row}: cosine {row.cosine:.7f}, difference {row.difference:.2e}" for row in self.worst]
        return "\n".join(lines)


def limits_for(
    precision: str, wanted: object = None, *, routed: bool = False, table: Mapping[str, Limits] = LIMITS
) -> Limits:
    """The limits of a precision, with those that the caller names in place of the default.

    Args:
        precision: A name of :data:`LIMITS`.
        wanted: ``None``, :class:`Limits`, or a mapping of their names to numbers.
        routed: As ``Architecture.routed``: below fp32 single tokens may then be far off, and their mean counts.
        table: Whose the precision is.

    Raises:
        OptionError: A name that is no limit, or no number.
    """
    usual = table[precision]
    if table is LIMITS and routed and precision != "fp32":
        usual = replace(usual, min_cosine=0.5, max_difference=None, min_mean_cosine=0.97)
    if wanted is None:
        return usual
    if isinstance(wanted, Limits):
        return wanted
    names = [field.name for field in fields(Limits)]
    if not isinstance(wanted, Mapping):
        raise _bad_limits(f"limits={wanted!r}", names)
    for name, value in wanted.items():
        if name not in names:
            raise _bad_limits(f"{name!r}", names, nearest(str(name), names))
        if value is not None and (not is_number(value) or value != value):
            raise _bad_limits(f"{name}={value!r}", names)
    return replace(usual, **{name: None if value is None else float(value) for name, value in wanted.items()})


def _bad_limits(got: str, names: Sequence[str], hint: str = "") -> OptionError:
    return OptionError(
        f"limits is a mapping of names to numbers.{hint}",
        got=got,
        allowed=", ".join(names) + ": a number, or None to take no notice of it",
        do='for example limits={"min_cosine": 0.999}',
    )


def verify(
    references: Iterable[Reference], candidate: Run, how: Comparison, limits: Limits, where: str
) -> Verification:
    """Runs every sample and compares with what the reference gave.

    Args:
        references: Samples with the outputs of HuggingFace's own model and the head, in float32.
        candidate: What is to be verified.
        how: Which outputs, and how.
        limits: What must hold; nothing is raised where it does not.
        where: What the candidate is, in words.

    Raises:
        NumericsError: NaN or Inf in the reference.
        VerificationError: Another shape than the reference's.
    """
    tally = _Tally(how, limits)
    for sample, want in references:
        got = candidate(sample.inputs)
        for spec in how.outputs:
            check_shapes(want[spec.name], got[spec.name], where)
            tally.add(sample, spec, want[spec.name], got[spec.name])
        tally.rows += len(sample.names)
    return tally.result(where)


@dataclass(frozen=True, slots=True)
class Criterion:
    """What a graph has to do to be good enough.

    Attributes:
        references: Samples, with what the model should answer.
        how: Which outputs, and how they are compared.
        limits: What must hold.
    """

    references: Sequence[Reference]
    how: Comparison
    limits: Limits

    def check(self, candidate: Run, where: str) -> Verification:
        """How well a candidate does; see :func:`verify`."""
        return verify(self.references, candidate, self.how, self.limits, where)


def refuse(result: Verification, name: str, more: str = "", do: str = "") -> None:
    """Raises when a limit does not hold.

    Args:
        result: What was found.
        name: What it is about.
        more: A sentence more for the error: the layer that the fault starts in.
        do: What to do next; left out, a general answer.

    Raises:
        VerificationError: Holds the result.
    """
    if result.passed:
        return
    worst = "; ".join(f"{row.row} (cosine {row.cosine:.6f})" for row in result.worst[:3])
    limits = ", ".join(f"{key} {value:g}" for key, value in asdict(result.limits).items() if value is not None)
    raise VerificationError(
        f"{name!r} does not give the numbers of {result.reference} as {result.where}.{more and ' ' + more}",
        got="; ".join(result.failures) + f". Worst rows: {worst}",
        allowed=limits,
        do=do or 'report the model\'s type; limits={…} sets other limits, verify="off" takes the risk and is recorded',
        verification=result,
    )


class _Tally:
    """What was compared so far."""

    def __init__(self, how: Comparison, limits: Limits) -> None:
        self.how, self.limits = how, limits
        self.cosines: list[NDArray[np.float64]] = []
        self.differences: list[NDArray[np.float64]] = []
        self.names: list[str] = []
        self.pooled: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self.labels: list[NDArray[np.bool_]] = []
        self.logit_error: float | None = None
        self.rows = 0

    def add(self, sample: Sample, spec: TensorSpec, want: Array, got: Array) -> None:
        a, b = (vectors(side, spec, sample.inputs, self.how.frames) for side in (want, got))
        if not np.isfinite(a.values).all():
            raise NumericsError(
                f"NaN or Inf in the output of HuggingFace's own {self.how.name!r}.",
                got=f"{int((~np.isfinite(a.values)).sum())} of {a.values.size} values of {spec.name!r}",
                allowed="finite numbers",
                do="check the weights for NaN and Inf",
            )
        if self.how.whole:
            self._add_scores(sample, a, b.values)
        else:
            cosine, difference = figures(a.values, b.values)
            self._keep(cosine, difference, [sample.names[min(row, len(sample.names) - 1)] for row in a.rows])
            if sample.texts and want.ndim == 2 and np.isfinite(b.values).all():
                self.pooled.append((a.values, b.values))

    def _add_scores(self, sample: Sample, want: Vectors, got: NDArray[np.float64]) -> None:
        cosine, difference = figures(want.values.reshape(1, -1), got.reshape(1, -1))
        norm = max(float(np.linalg.norm(want.values)), 1e-12)  # what the difference was divided by
        difference = difference * (norm / max(norm, 1.0))
        error = np.nan_to_num(np.abs(want.values - got).max(-1, initial=0.0), nan=np.inf, posinf=np.inf)
        self._keep(cosine, difference, [sample.names[want.rows[error.argmax()]]] if len(error) else [])
        self.logit_error = max(float(error.max(initial=0.0)), self.logit_error or 0.0)
        if sample.texts:
            self.labels.append(_same_labels(want, got, self.limits.max_difference or 0.0))

    def _keep(self, cosine: NDArray[np.float64], difference: NDArray[np.float64], names: list[str]) -> None:
        self.cosines.append(cosine)
        self.differences.append(difference)
        self.names += names

    def result(self, where: str) -> Verification:
        cosine, difference = (np.concatenate([*each, np.zeros(0)]) for each in (self.cosines, self.differences))
        bins = np.searchsorted(HISTOGRAM, cosine, side="right")
        labels = np.concatenate([*self.labels, np.zeros(0, bool)])
        return Verification(
            where=where,
            reference="HuggingFace float32",
            rows=self.rows,
            vectors=len(cosine),
            not_finite=int(np.isinf(difference).sum()),
            min_cosine=float(cosine.min(initial=1.0)),
            mean_cosine=float(cosine.mean()) if len(cosine) else 1.0,
            max_difference=float(difference.max(initial=0.0)),
            rank_agreement=self._ranks(),
            label_agreement=float(labels.mean()) if len(labels) else None,
            max_logit_error=self.logit_error,
            histogram=tuple(int(n) for n in np.bincount(bins, minlength=len(HISTOGRAM) + 1)),
            limits=self.limits,
            worst=self._worst(cosine, difference),
        )

    def _worst(self, cosine: NDArray[np.float64], difference: NDArray[np.float64]) -> tuple[WorstRow, ...]:
        found: dict[str, WorstRow] = {}
        for index in np.lexsort((-difference, cosine)):
            row = WorstRow(self.names[index], float(cosine[index]), float(difference[index]))
            found.setdefault(row.row, row)
            if len(found) == SHOWN:
                break
        return tuple(found.values())

    def _ranks(self) -> float | None:
        """Mean share of each text's nearest neighbours that are near in the reference too."""
        if not self.pooled:
            return None
        want, got = (np.concatenate([pair[side] for pair in self.pooled]) for side in (0, 1))
        if len(want) < TOP + 2:
            return None
        near, found = _similarities(want), _similarities(got)
        slack = 0.0 if self.limits.min_cosine is None else 1.0 - self.limits.min_cosine
        bar = np.sort(near, axis=1)[:, -TOP] - slack
        chosen = np.argsort(-found, axis=1, kind="stable")[:, :TOP]
        return float((np.take_along_axis(near, chosen, 1) >= bar[:, None]).mean())


def _same_labels(want: Vectors, got: NDArray[np.float64], slack: float) -> NDArray[np.bool_]:
    """Whether the best score stands at the same place, for each vector whose two best scores are apart.

    Where a token has one score, as the start of an answer has, a row's tokens compete.
    """
    if want.values.shape[1] > 1:
        pairs = list(zip(want.values, got, strict=True))
    else:
        places = [np.flatnonzero(want.rows == row) for row in np.unique(want.rows)]
        pairs = [(want.values[place, 0], got[place, 0]) for place in places]
    norm = np.linalg.norm(want.values) / np.sqrt(max(1, len(pairs)))
    same = []
    for scores, others in pairs:
        if len(scores) > 1 and np.diff(np.sort(scores)[-2:])[0] > slack * norm:
            same.append(scores.argmax() == others.argmax())
    return np.array(same, bool)


def _similarities(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of every row with every other; a row is not its own neighbour."""
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    similar: NDArray[np.float64] = units @ units.T
    np.fill_diagonal(similar, -np.inf)
    return similar
