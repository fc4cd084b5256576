"""Fake ``QAicApi_pb2``: plain objects with the names that clients use, and their own ``ParseFromString``.

The bytes between the fake runtime and this module are JSON, not protobuf.
"""

import json

BUFFER_IO_TYPE_INPUT = 0
BUFFER_IO_TYPE_OUTPUT = 1

FLOAT_TYPE = 0
FLOAT_16_TYPE = 1
INT8_Q_TYPE = 2
UINT8_Q_TYPE = 3
INT16_Q_TYPE = 4
INT32_Q_TYPE = 5
INT32_I_TYPE = 6
INT64_I_TYPE = 7
INT8_TYPE = 8
TYPE_INVALID = 255


class TensorShape:
    __slots__ = ("dims", "type")

    def __init__(self, type=0, dims=()):
        self.type, self.dims = type, list(dims)


class IoShapes:
    __slots__ = ("shapes",)

    def __init__(self, shapes=()):
        self.shapes = list(shapes)


class IoBinding:
    __slots__ = (
        "name",
        "index",
        "type",
        "dir",
        "quant_scale",
        "quant_offset",
        "dims",
        "size",
        "dma_buf_info",
        "is_partial_buf_allowed",
        "is_valid",
    )

    def __init__(self, name, index, type, dir, dims, size, partial):
        self.name, self.index, self.type, self.dir = name, index, type, dir
        self.quant_scale, self.quant_offset, self.dma_buf_info = 0.0, 0, []
        self.dims, self.size, self.is_partial_buf_allowed, self.is_valid = list(dims), size, partial, True


class IoSet:
    __slots__ = ("bindings", "name")

    def __init__(self, name="", bindings=()):
        self.name, self.bindings = name, list(bindings)


class IoDesc:
    __slots__ = ("allowed_shapes", "dma_buf", "io_sets", "program_name", "selected_set")

    def __init__(self):
        self.io_sets, self.selected_set, self.allowed_shapes = [], IoSet(), []
        self.dma_buf, self.program_name = [], ""

    def ParseFromString(self, serialized):
        if type(serialized) is not bytes:
            raise TypeError(f"a bytes-like object is required, not {type(serialized).__name__!r}")
        record = json.loads(serialized)
        self.selected_set = IoSet("default", [IoBinding(**binding) for binding in record["bindings"]])
        self.io_sets = [self.selected_set]
        self.allowed_shapes = [IoShapes([TensorShape(**shape) for shape in entry]) for entry in record["allowed"]]
        return len(serialized)
