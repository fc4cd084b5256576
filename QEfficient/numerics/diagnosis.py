"""What the fp16 doctor finds, as records that print themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["overflow", "near", "loss"]


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
