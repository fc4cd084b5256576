"""The graphs that a program is compiled of, each with its shapes and its place in the program's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from QEfficient.backends.base import Graphs, GraphShapes
from QEfficient.errors import OptionError
from QEfficient.records import MODEL, GraphFacts, OnnxModel, Shape


@dataclass(frozen=True, slots=True)
class GraphJob:
    """One graph that is to be compiled.

    Attributes:
        model: The graph.
        shapes: What to compile it for, ascending.
        folder: Where its files go: the program's own folder for the graph ``model``, else one in there named after it.
        inside: That folder's name in the program's, ending with ``/``; empty for the program's own.
    """

    model: OnnxModel
    shapes: tuple[Shape, ...]
    folder: Path
    inside: str

    def facts(self, *, binary: str | None = None) -> GraphFacts:
        """What the manifest says of the graph.

        Args:
            binary: Folder of its QPC, inside of :attr:`folder`.
        """
        onnx, binary = self.inside + self.model.path.name, binary and self.inside + binary
        return GraphFacts(self.shapes, self.model.inputs, self.model.outputs, onnx, binary=binary)


def jobs(graphs: Graphs, shapes: GraphShapes, workdir: Path) -> dict[str, GraphJob]:
    """What there is to compile, by the graphs' names. Their folders exist then.

    Raises:
        OptionError: A graph has no shapes.
    """
    for name in graphs:
        if not shapes.get(name):
            raise OptionError(
                f"There are no shapes to compile the graph {name!r} for.",
                got="no shapes",
                allowed="at least one shape",
                do="pass seq_len=128, or leave it out for the model's own lengths",
            )
    found = {}
    for name, model in graphs.items():
        inside = "" if name == MODEL else f"{name}/"
        (workdir / inside).mkdir(exist_ok=True)
        found[name] = GraphJob(model, tuple(sorted(shapes[name])), workdir / inside, inside)
    return found
