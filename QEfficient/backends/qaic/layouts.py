"""A program's manifest against what the compiled program says of itself: the buffers of each compiled shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from QEfficient.backends.qaic.descriptor import Descriptor, Dims
from QEfficient.backends.qaic.slot import Layout
from QEfficient.errors import DeviceError
from QEfficient.records import Manifest, TensorSpec

_UNSCALED = "compile it again, without int8 in custom_IO_list_file"
Layouts = Mapping[tuple[Dims, ...], Layout]
"""By the shapes of the inputs that a run is given."""


def agreed(manifest: Manifest, descriptor: Descriptor, pairs: Mapping[str, str] | None = None) -> Layouts:
    """The layout of each compiled shape.

    Args:
        manifest: What the program was compiled for.
        descriptor: What it says of itself.
        pairs: State input → output of those that stay on the device: a layout skips both.

    Raises:
        DeviceError: The two disagree on names, types or shapes.
    """
    state = {**pairs, **{output: name for name, output in pairs.items()}} if pairs else {}
    by_name = {binding.name: binding for binding in descriptor.bindings}
    inputs = {binding.name for binding in descriptor.bindings if binding.is_input}
    every = (*manifest.inputs, *manifest.outputs)
    if inputs != {spec.name for spec in manifest.inputs} or not {spec.name for spec in every} <= set(by_name):
        raise _disagree("inputs and outputs", sorted(by_name), sorted(spec.name for spec in every))
    moved = [spec for spec in every if spec.name not in state]
    for spec in moved:  # the form of what stays on the device is the compiler's affair
        binding = by_name[spec.name]
        if binding.quantised:
            raise _disagree(f"the type of {spec.name!r}", f"scaled {binding.dtype}", spec.dtype, do=_UNSCALED)
        if _kind(binding.dtype) != _kind(spec.dtype):
            raise _disagree(f"the type of {spec.name!r}", binding.dtype, spec.dtype)
    found = {}
    results = {spec.name: spec.dtype for spec in manifest.outputs if spec.name not in state}
    for shape in manifest.shapes:
        known = shape.sizes  # an output's frames are the graph's own affair
        given = {spec.name: spec.at(shape) for spec in every if _sized(spec, known)}
        shapes = descriptor.match(given)
        if shapes is None:
            raise _disagree("shapes", [list(s) for s in descriptor.shapes], given)
        key = tuple(spec.at(shape) for spec in manifest.inputs if spec.name not in state)
        found[key] = Layout.of(descriptor.bindings, shapes, results, skipped=frozenset(state))
    return found


def _sized(spec: TensorSpec, known: Mapping[str, int]) -> bool:
    return all(isinstance(dim, int) or dim in known for dim in spec.shape)


def _kind(dtype: str) -> str:
    return "float" if np.dtype(dtype).kind == "f" else "integer"


def _disagree(what: str, got: object, allowed: object, do: str = "compile it again") -> DeviceError:
    return DeviceError(
        f"The compiled program and its manifest disagree on {what}.",
        got=f"the program has {got}",
        allowed=f"{allowed}, as the manifest says",
        do=do,
    )
