"""ONNX files on disk: which files a graph consists of, its digest, its inputs and outputs, and how to read it.

External data is always found by reading the graph. Locations in it are not trusted: one that leaves the graph's
folder is refused here, once, for every reader.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from QEfficient.cache import check_inside, file_digest, link_or_copy
from QEfficient.errors import CorruptArtefactError, TransformError
from QEfficient.records import OnnxModel, TensorSpec


def external_files(path: Path) -> tuple[Path, ...]:
    """The external data files of the graph at ``path``, each once, in the order in which the graph names them.

    Raises:
        CorruptArtefactError: The graph can't be read; a file is missing or too short, or its location leaves the
            graph's folder.
    """
    return tuple(dict.fromkeys(_data_file(path, tensor) for tensor in _external_tensors(_parse(path))))


def _file_digests(path: Path) -> dict[str, str]:
    return {file.relative_to(path.parent).as_posix(): file_digest(file) for file in (path, *external_files(path))}


def describe(path: Path) -> OnnxModel:
    """The record of the graph at ``path``: inputs, outputs, digest, and whether it has functions.

    The digest is SHA-256, as hex, over those of the graph file and of all its external data, in the order in which the
    graph names them. A file's name counts only where the graph itself holds it, so that a graph may be renamed, but its
    data may not.

    An input that is also an initializer is no input. A dim without a name is named after its value: ``"mask_dim0"``.

    Raises:
        CorruptArtefactError: As :func:`external_files`.
        TransformError: An input or output is not a tensor, or nothing is known of its shape.
    """
    proto = _parse(path)
    constants = {tensor.name for tensor in proto.graph.initializer}
    files = _file_digests(path)
    return OnnxModel(
        path=path,
        inputs=tuple(_spec(value) for value in proto.graph.input if value.name not in constants),
        outputs=tuple(_spec(value) for value in proto.graph.output),
        digest=hashlib.sha256(b"".join(map(bytes.fromhex, files.values()))).hexdigest(),
        functions=bool(proto.functions),
        files=files,
    )


def adopt(path: Path, folder: Path) -> OnnxModel:
    """Brings a user's own ONNX file with its external data into ``folder``.

    Files of the cache are linked, others copied; names stay as they are, since the graph holds them. It is needed
    because a graph in a HuggingFace cache is a set of symbolic links, which onnx and onnx_ir refuse to read.

    Raises:
        CorruptArtefactError: As :func:`external_files`.
        TransformError: As :func:`describe`.
    """
    files = (path, *external_files(path))
    for file in files:
        target = folder / file.relative_to(path.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.exists() and target.samefile(file)):
            link_or_copy(file, target)
    return describe(folder / path.name)


def read(path: Path) -> ir.Model:
    """Reads the graph at ``path``. Weights in external data stay on disk until somebody asks for their values.

    onnx_ir refuses data files with several hard links, which is how the cache shares them between its folders. Here
    every location is checked and then made absolute; onnx_ir leaves such tensors to their maker.

    Raises:
        CorruptArtefactError: As :func:`external_files`.
    """
    proto = _parse(path)
    for tensor in _external_tensors(proto):
        file = _data_file(path, tensor).absolute()
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = str(file)
    return ir.from_proto(proto)


def make_relative(proto: onnx.ModelProto, folder: Path) -> None:
    """Names external data by its place in ``folder`` again, after :func:`read` made it absolute."""
    for tensor in _external_tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = Path(entry.value).relative_to(folder).as_posix()


def write_beside(model: ir.Model, source: Path, target: Path) -> None:
    """Writes a graph that was made of ``source``'s, as :func:`read` gave it, beside it: both have the same data."""
    proto = ir.to_proto(model)
    make_relative(proto, source.parent.absolute())
    onnx.save_model(proto, target)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError as error:
        raise CorruptArtefactError(
            "The ONNX file is not there.",
            got=str(path),
            allowed="a .onnx file, its external data beside it",
            do="check the path, or export the model again",
        ) from error
    except DecodeError as error:
        raise _unreadable(path, str(error)) from error
    if not proto.HasField("graph") or not proto.ir_version:
        raise _unreadable(path, "it holds no graph")
    return proto


def _unreadable(path: Path, reason: str) -> CorruptArtefactError:
    return CorruptArtefactError(
        f"The ONNX file can't be read: {reason}",
        got=str(path),
        allowed="a complete ONNX model in protobuf form",
        do="copy the file again, or export the model again",
    )


def _external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor whose data stands outside the graph file, in subgraphs and functions too."""
    nodes = [node for function in proto.functions for node in function.node]
    for tensor in (*_tensors(proto.graph), *_node_tensors(nodes)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs):
                yield from _tensors(graph)


def _data_file(path: Path, tensor: onnx.TensorProto) -> Path:
    """Where the data of ``tensor`` stands; checked to be inside the graph's folder and long enough."""
    info: dict[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location = info.get("location", "")
    try:
        file = check_inside(path.parent, PurePosixPath(location).as_posix())  # without a "./" that some exporters write
    except CorruptArtefactError as error:
        raise CorruptArtefactError(
            f"External data of tensor {tensor.name!r} stands outside of the graph's folder.",
            got=location,
            allowed=f"a relative location inside {path.parent}",
            do="do not use this file unless you trust its maker; save it with all its data in one folder",
        ) from error
    if not file.is_file():
        raise CorruptArtefactError(
            f"External data of tensor {tensor.name!r} is missing.",
            got=location,
            allowed=f"a file in {path.parent}",
            do="copy the data files together with the graph, or export the model again",
        )
    _check_length(path, tensor, file, info)
    return file


def _check_length(path: Path, tensor: onnx.TensorProto, file: Path, info: dict[str, str]) -> None:
    needed = math.ceil(math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth / 8)
    size = file.stat().st_size
    try:
        offset, length = int(info.get("offset", 0)), int(info.get("length", needed))
    except ValueError as error:
        raise _unreadable(path, f"offset or length of tensor {tensor.name!r} is not a number") from error
    if offset < 0 or length != needed or offset + length > size:
        raise CorruptArtefactError(
            f"External data of tensor {tensor.name!r} does not fit its file.",
            got=f"{length} bytes at offset {offset} of {file.name}, which has {size} bytes",
            allowed=f"{needed} bytes inside the file",
            do="copy the data file again, or export the model again",
        )


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise TransformError(
            f"Input or output {value.name!r} of the graph has no known tensor shape.",
            got=value.type.WhichOneof("value") or "no type",
            allowed="a tensor whose number of dims is known",
            do="run onnx.shape_inference.infer_shapes_path on the file, or export the model again",
        )
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_dim{index}"
        for index, dim in enumerate(kind.shape.dim)
    )
    return TensorSpec(value.name, ir.DataType(kind.elem_type).numpy().name, shape)
