"""ONNX → ONNX. One pass a file, on the pass machinery of onnx_ir; the order is data, and stands in ``apply`` alone.

A pass takes a graph whose weights may still stand on disk, changes it in place and says truly whether it did. It
visits subgraphs and functions too, and never reads a weight whole.
"""

from QEfficient.onnx_transforms.apply import BY_LAYERS, DEFAULT, PassFactory, apply, finish, run
from QEfficient.onnx_transforms.graph_file import adopt, describe, external_files, read
from QEfficient.onnx_transforms.tables import tables

__all__ = [
    "BY_LAYERS",
    "DEFAULT",
    "PassFactory",
    "adopt",
    "apply",
    "describe",
    "external_files",
    "finish",
    "read",
    "run",
    "tables",
]
