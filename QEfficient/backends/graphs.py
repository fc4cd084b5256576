"""The graphs that a program is compiled of, each with its shapes and its place in the program's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from QEfficient.errors import OptionError
from QEfficient.records import MODEL, GraphFacts, OnnxModel, Shape


@dataclass(frozen=True, slots=True)
class GraphJob:
    """One graph that is to be compiled.

    Attributes:
        model: The graph.
        shapes: What to compile it for, ascending.
        workdir: The program's folder.
        folder: Where the graph's files go: the program's folder for the graph ``model``, else one named after it.
    """

    model: OnnxModel
    shapes: tuple[Shape, ...]
    workdir: Path
    folder: Path

    def facts(self, *, binary: str | None = None) -> GraphFacts:
        """What the manifest says of the graph.

        Args:
            binary: Folder of its QPC, inside of :attr:`folder`.
        """
        return GraphFacts(
            shapes=self.shapes,
            inputs=self.model.inputs,
            outputs=self.model.outputs,
            onnx=self._inside(self.model.path.name),
            binary=None if binary is None else self._inside(binary),
        )

    def _inside(self, name: str) -> str:
        return (self.folder / name).relative_to(self.workdir).as_posix()


def jobs(graphs: Mapping[str, OnnxModel], shapes: Mapping[str, Sequence[Shape]], workdir: Path) -> dict[str, GraphJob]:
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
        folder = workdir if name == MODEL else workdir / name
        folder.mkdir(exist_ok=True)
        found[name] = GraphJob(model, tuple(sorted(shapes[name])), workdir, folder)
    return found
