"""What a compiled program says of its own inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from QEfficient.backends.qaic.native import Runtime, guarded
from QEfficient.backends.retained import paired_names
from QEfficient.errors import DeviceError

# Data type in QAicApi_pb2 → numpy dtype, as the vendor's client reads them. Bool arrives as INT8_TYPE.
_DTYPES = {
    "FLOAT_TYPE": "float32",
    "FLOAT_16_TYPE": "float16",
    "INT8_Q_TYPE": "int8",
    "UINT8_Q_TYPE": "uint8",
    "INT16_Q_TYPE": "int16",
    "INT32_Q_TYPE": "int32",
    "INT32_I_TYPE": "int32",
    "INT64_I_TYPE": "int64",
    "INT8_TYPE": "int8",
}
OPAQUE = "opaque"  # state in a form that hosts don't know: MXINT8
_ITEM_SIZES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, OPAQUE: 1}

Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """One input or output of a program.

    Attributes:
        name: Its name in the graph.
        index: Place of its buffer among all buffers.
        is_input: Its direction.
        dtype: numpy dtype's name; ``"opaque"`` of state whose type has no numpy form.
        quantised: Whether its integers stand for scaled numbers.
        dims: Its shape; with several allowed shapes the vendor does not say which one this is.
        size: Bytes of its buffer, as the program says.
        partial: Whether a smaller buffer, or none, is taken.
    """

    name: str
    index: int
    is_input: bool
    dtype: str
    quantised: bool
    dims: Dims
    size: int
    partial: bool

    @property
    def item_size(self) -> int:
        """Bytes of one element."""
        return _ITEM_SIZES[self.dtype]

    def bytes_of(self, shape: Dims) -> int:
        """Bytes of a buffer of this shape."""
        return self.item_size * math.prod(shape)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """All bindings by index, and the shapes that may go together.

    Attributes:
        bindings: In order of their index.
        allowed: One entry per compiled shape, each with one shape a binding. Empty when there is a single shape.
        raw: The message itself, for :class:`QAICInferenceSession`.
    """

    bindings: tuple[Binding, ...]
    allowed: tuple[tuple[Dims, ...], ...]
    raw: Any

    @property
    def pairs(self) -> Mapping[str, str]:
        """Input that may be state → the output that is its next value, see ``backends/retained.py``."""
        return _pairs((binding.name, binding.is_input) for binding in self.bindings)

    @property
    def shapes(self) -> tuple[tuple[Dims, ...], ...]:
        """The allowed shapes, or the only one."""
        return self.allowed or (tuple(binding.dims for binding in self.bindings),)

    def sized(self, shapes: Sequence[Dims]) -> list[tuple[int, list[int]]]:
        """Item size and dims of each binding in these shapes, as the runtime takes them."""
        return [(b.item_size, list(shape)) for b, shape in zip(self.bindings, shapes, strict=True)]

    def match(self, given: Mapping[str, Dims]) -> tuple[Dims, ...] | None:
        """The shapes of all bindings for the shapes of some, or ``None`` when no compiled shape has them."""
        for shapes in self.shapes:
            if all(b.name not in given or given[b.name] == s for b, s in zip(self.bindings, shapes, strict=True)):
                return shapes
        return None


def read(runtime: Runtime, qpc: Any) -> Descriptor:
    """Parse and cross-check the descriptor of an opened program.

    Raises:
        DeviceError: It can't be had, or contradicts itself.
    """
    doing, do = "describe the program's inputs and outputs", "compile the program again"
    blob = runtime.call(qpc.getIoDescriptor, doing=doing, do=do)
    message = runtime.api.IoDesc()
    with guarded(doing, do=do):
        message.ParseFromString(bytes(blob))
    types = _type_names(runtime.api)
    raw = sorted(message.selected_set.bindings, key=lambda b: int(b.index))
    pairs = _pairs((str(b.name), int(b.dir) == int(runtime.api.BUFFER_IO_TYPE_INPUT)) for b in raw)
    state = {*pairs, *pairs.values()}
    bindings = [_binding(runtime.api, types, b, opaque=str(b.name) in state) for b in raw]
    allowed = tuple(tuple(_dims(shape.dims) for shape in entry.shapes) for entry in message.allowed_shapes)
    descriptor = Descriptor(tuple(bindings), allowed, message)
    _check_bindings(descriptor)
    _check_allowed(descriptor)
    return descriptor


def _type_names(api: Any) -> dict[int, str]:
    """Number → numpy dtype. Numbers are asked of the module: newer SDKs add types."""
    numbers = {getattr(api, name): dtype for name, dtype in _DTYPES.items() if hasattr(api, name)}
    return {int(number): dtype for number, dtype in numbers.items()}


def _pairs(names: Iterable[tuple[str, bool]]) -> Mapping[str, str]:
    """State among names, each with whether it is an input."""
    both = list(names)
    return paired_names([n for n, is_input in both if is_input], [n for n, is_input in both if not is_input])


def _binding(api: Any, types: Mapping[int, str], raw: Any, *, opaque: bool) -> Binding:
    number = int(raw.type)
    if number not in types and not opaque:
        raise DeviceError(
            f"The program's {raw.name!r} has a data type that has no numpy form here.",
            got=number,
            allowed=", ".join(sorted(set(types.values()))),
            do="compile without a custom I/O file, or with float16 in it",
        )
    quantised = number in {getattr(api, name, None) for name in _DTYPES if "_Q_" in name}
    return Binding(
        name=str(raw.name),
        index=int(raw.index),
        is_input=int(raw.dir) == int(api.BUFFER_IO_TYPE_INPUT),
        dtype=types.get(number, OPAQUE),
        quantised=quantised,
        dims=_dims(raw.dims),
        size=int(raw.size),
        partial=bool(raw.is_partial_buf_allowed),
    )


def _dims(dims: Sequence[int]) -> Dims:
    return tuple(int(d) for d in dims)


def _check_bindings(descriptor: Descriptor) -> None:
    bindings = descriptor.bindings
    if [b.index for b in bindings] != list(range(len(bindings))):
        raise _contradiction("binding indices", [b.index for b in bindings], "0, 1, 2, …")
    if len({b.name for b in bindings}) != len(bindings):
        raise _contradiction("binding names", [b.name for b in bindings], "different names")
    if descriptor.allowed:
        return  # which of the shapes dims and size then stand for is not documented
    for b in bindings:
        expected = b.bytes_of(tuple(d for d in b.dims if d))  # the vendor leaves zero dims out of the product
        if b.size != expected and b.dtype != OPAQUE:
            raise _contradiction(f"the size of {b.name!r}", b.size, f"{expected} bytes, for {b.dtype} {list(b.dims)}")


def _check_allowed(descriptor: Descriptor) -> None:
    raw = {int(b.index): b for b in descriptor.raw.selected_set.bindings}
    for entry in descriptor.raw.allowed_shapes:
        if len(entry.shapes) != len(raw):
            raise _contradiction("an allowed shape", entry, f"one shape for each of the {len(raw)} bindings")
        for index, shape in enumerate(entry.shapes):
            if int(shape.type) != int(raw[index].type):
                raise _contradiction(f"the type of {raw[index].name!r}", int(shape.type), str(int(raw[index].type)))


def _contradiction(what: str, got: object, allowed: str) -> DeviceError:
    return DeviceError(
        f"The program's description contradicts itself: {what}.", got=got, allowed=allowed, do="compile it again"
    )
