"""What the fp16 doctor finds, as records that print themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from QEfficient.numerics import precision_file
from QEfficient.numerics.ranges import TensorRange
from QEfficient.numerics.verify import Verification
from QEfficient.records import Json

Kind = Literal["overflow", "near", "loss"]
_WIDTH = 140  # columns of the printed table where it goes to no terminal
_SHOWN = 20  # findings that it lists


@dataclass(frozen=True, slots=True)
class Finding:
    """A node whose numbers do not fit fp16.

    Attributes:
        kind: ``"overflow"``: past 65504, so infinite on the card. ``"near"``: within the margin of it. ``"loss"``: it
            fits, but rounding costs more accuracy than the limits allow.
        node: Name of its first output.
        op: Its operator.
        module: Path of its torch module; ``""`` where the graph does not say.
        largest: Largest magnitude that was met.
        channel: Index along the last dim of the one channel that is far above all others; ``None``: there is none.
        text: What happens there, in words.
    """

    kind: Kind
    node: str
    op: str
    module: str
    largest: float
    channel: int | None
    text: str

    @property
    def place(self) -> str:
        """The node in words: ``"Softmax 'softmax_3' in encoder.layer.3.attention.self"``."""
        return f"{self.op} {self.node!r}" + (f" in {self.module}" if self.module else "")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A power of two that was folded into weights; the fp32 result is the same.

    Attributes:
        exponent: The values were multiplied by 2 to this power.
        values: Names of the values.
        weights: Names of the weights that took it, or its inverse.
        module: Path of the torch module that makes the first of the values.
    """

    exponent: int
    values: tuple[str, ...]
    weights: tuple[str, ...]
    module: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What fp16 does to a graph, and the cure.

    Attributes:
        findings: In graph order.
        fp32_nodes: First output names of the nodes that have to stay in fp32, in graph order; none: fp16 will do.
        fp32_share: The share of all FLOPs that they have, 0 to 1.
        before: All nodes in fp16, under emulation.
        after: With these nodes in fp32, and with the rewrites, under emulation.
        rewrites: What was folded into weights; the graph at ``onnx_path`` has it.
        ranges: What was met in every value and weight.
        margin: Share of fp16's largest number from which a value counts as near.
        path: The node-precision file, where one was written.
        onnx_path: The rewritten graph, to which the node names belong; ``None``: they belong to the graph as it was.
    """

    findings: tuple[Finding, ...]
    fp32_nodes: tuple[str, ...]
    fp32_share: float
    before: Verification
    after: Verification
    rewrites: tuple[Rewrite, ...] = ()
    ranges: tuple[TensorRange, ...] = ()
    margin: float = 0.5
    path: Path | None = None
    onnx_path: Path | None = None

    @property
    def healthy(self) -> bool:
        """Whether plain fp16 meets the limits."""
        return self.before.passed

    def write(self, path: str | Path) -> Path:
        """Writes the node-precision file for ``compile(node_precision_info=…)``.

        Returns:
            Where it stands.
        """
        path = Path(path)
        precision_file.write(path, fp32=self.fp32_nodes)
        return path

    def to_json(self) -> dict[str, Json]:
        """All of it but the paths, for a file."""
        found = asdict(replace(self, path=None, onnx_path=None))
        del found["path"], found["onnx_path"]
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Diagnosis:
        """Of what :meth:`to_json` gave."""
        return cls(
            findings=tuple(Finding(**each) for each in value["findings"]),
            fp32_nodes=tuple(value["fp32_nodes"]),
            fp32_share=value["fp32_share"],
            before=Verification.from_json(value["before"]),
            after=Verification.from_json(value["after"]),
            rewrites=tuple(
                Rewrite(each["exponent"], tuple(each["values"]), tuple(each["weights"]), each["module"])
                for each in value["rewrites"]
            ),
            ranges=tuple(TensorRange(**each) for each in value["ranges"]),
            margin=value["margin"],
        )

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_WIDTH).print(self)
        return text.getvalue().rstrip()

    def __rich__(self) -> Group:
        return Group(self._table(), Text(self._summary())) if self.findings else Group(Text(self._summary()))

    def _table(self) -> Table:
        table = Table()
        for name in ("kind", "node", "torch module", "largest", "what"):
            table.add_column(name, overflow="fold", justify="right" if name == "largest" else "left")
        for found in self.findings[:_SHOWN]:
            module = found.module or "-"
            table.add_row(found.kind, f"{found.op} {found.node}", module, f"{found.largest:.4g}", found.text)
        if len(self.findings) > _SHOWN:
            table.add_row("…", f"{len(self.findings) - _SHOWN} more", "", "", "")
        return table

    def _summary(self) -> str:
        lines = [f"plain fp16: {_verdict(self.before)}"]
        if self.rewrites:
            moved = ", ".join(f"2^{each.exponent} in {each.module or each.values[0]}" for each in self.rewrites[:5])
            lines.append(f"folded into weights, without a change of any fp32 result: {moved}")
        if self.fp32_nodes:
            lines.append(f"{len(self.fp32_nodes)} nodes in fp32, {self.fp32_share:.1%} of the FLOPs")
        if self.fp32_nodes or self.rewrites:
            lines.append(f"with that: {_verdict(self.after)}")
        return "\n".join(lines)


def _verdict(result: Verification) -> str:
    if result.not_finite:
        return f"{result.not_finite} of {result.vectors} vectors hold NaN or Inf"
    failed = "" if result.passed else f"; {'; '.join(result.failures)}"
    return f"min cosine {result.min_cosine:.7f}, largest difference {result.max_difference:.2e} of a row's norm{failed}"
