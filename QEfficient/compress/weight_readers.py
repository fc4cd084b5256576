"""How a weight is read, which says along which dim its numbers share a step; or why it stays as it is."""

from __future__ import annotations

import onnx_ir as ir

PRODUCT, TURNED, TABLE, TIED = "a product's", "a turned product's", "a table's", "a product's with a tied table"
BY_ROW = frozenset({TABLE, TIED})
"""Readers of a matrix that has a step for each row; for the others each column has one."""

_TOGETHER = (frozenset({PRODUCT}), frozenset({TURNED}), frozenset({TABLE}), frozenset({TIED}), BY_ROW)


def readers_of(value: ir.Value) -> tuple[frozenset[str], str]:
    """In which ways a weight is read, and why it stays in fp32, if it does.

    Args:
        value: An initializer that is read.
    """
    readers = frozenset(_reader(node, place) for node, place in value.uses())
    return readers, _reason(value, readers)


def is_by_output(readers: frozenset[str]) -> bool:
    """Whether a row of a matrix that is read so belongs to an output of the products; else a column does."""
    return bool(readers & {*BY_ROW, TURNED})


def _reader(node: ir.Node, place: int) -> str:
    """What a weight is to a node that reads it; the operator's name where that is neither a product nor a table."""
    if node.domain == "" and node.op_type == "MatMul" and place == 1:
        return PRODUCT
    if node.domain == "" and node.op_type == "Gemm" and place == 1:
        return TURNED if node.attributes.get_int("transB", 0) else PRODUCT
    if node.domain == "" and node.op_type == "Gather" and place == 0 and node.attributes.get_int("axis", 0) == 0:
        return TABLE
    if node.domain == "" and node.op_type == "Transpose" and _feeds_products(node):
        return TIED
    return node.op_type


def _feeds_products(transpose: ir.Node) -> bool:
    """Whether products alone read a transposed matrix, as that of a table of words which gives the words' scores."""
    result = transpose.outputs[0]
    users = [(user.domain, user.op_type, place) for user, place in result.uses()]
    return not result.is_graph_output() and bool(users) and set(users) == {("", "MatMul", 1)}


def _reason(value: ir.Value, readers: frozenset[str]) -> str:
    """Why a weight stays in fp32."""
    dims = len(value.shape or ())
    if value.is_graph_input() or value.is_graph_output():
        return "it is an input or an output of the graph"
    if others := readers - {PRODUCT, TURNED, TABLE, TIED}:
        return f"{' and '.join(sorted(others))} reads it"
    if dims != 2:
        return f"it has {dims} dims"
    return "" if readers in _TOGETHER else "it is read in several ways"
