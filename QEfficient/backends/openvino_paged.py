"""OpenVINO's attention over caches in blocks, made for serving. It promises nothing of it: the name is underscored.

What differs between versions is here. A version without it, or with another one, runs the graph with slots.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from QEfficient.backends import openvino_graph as graphs
from QEfficient.records.paged import (
    BLOCK_BEGINS,
    BLOCKS,
    LONGEST,
    PAGED_ATTENTION,
    PAGED_DOMAIN,
    PAGED_INPUTS,
    PAST_LENS,
    SEQUENCE_BEGINS,
)

_OPERATOR = "_PagedAttentionExtension"
_STATES = ("query", "key", "value", "key_cache", "value_cache")
_NO_INT, _NO_BYTE, _NO_FLOAT = (np.zeros(0, dtype) for dtype in (np.int32, np.uint8, np.float32))
_ZERO = np.int32(0)


def is_there() -> bool:
    """Whether this version of openvino has the operator."""
    return hasattr(graphs.openvino().op, _OPERATOR)


def read(path: Path, compute: str) -> Any:
    """A graph in this form as an ``openvino.Model``.

    Args:
        path: As ``onnx_transforms.paged`` writes it.
        compute: What it is going to be compiled for: caches are in bf16 where products are.

    Raises:
        CorruptArtefactError: A file is missing, short, altered or outside the folder.
        DeviceError: OpenVINO does not know an operator of it, or its own is another one than it was.
    """
    ov = graphs.openvino()
    from openvino.frontend.onnx import ConversionExtension  # the package only, which sends nothing

    model = graphs.read(path, [ConversionExtension(PAGED_ATTENTION, PAGED_DOMAIN, _converted)])
    if graphs.is_half(compute):
        for parameter in model.get_parameters():
            if parameter.get_partial_shape().rank.get_length() == 4:
                parameter.set_element_type(ov.Type.bf16)
        model.validate_nodes_and_infer_types()
    return model


def _converted(node: Any) -> Any:
    """OpenVINO's operator in the place of ours."""
    ov = graphs.openvino()
    operators = ov.opset15
    given = {name: node.get_input(place) for place, name in enumerate((*_STATES, *PAGED_INPUTS))}
    width = given["key_cache"].get_partial_shape()[3].get_length()
    heads, shared = node.get_attribute("num_heads"), node.get_attribute("kv_num_heads")

    def constant(number: Any) -> Any:
        return operators.constant(number).output(0)

    def flat(name: str, count: int) -> Any:
        return operators.reshape(given[name], constant(np.array([-1, count * width])), False).output(0)

    inputs = [
        *(flat(name, count) for name, count in zip(_STATES, (heads, shared, shared), strict=False)),
        *(given[name] for name in ("key_cache", "value_cache", PAST_LENS, SEQUENCE_BEGINS, BLOCKS, BLOCK_BEGINS)),
        constant(np.float32(node.get_attribute("scale"))),
        constant(np.int32(node.get_attribute("window"))),
        constant(_NO_FLOAT),  # slopes of ALiBi
        given[LONGEST],
        constant(_NO_INT),  # a window that scores are summed over: none
        *map(constant, (_NO_INT, _NO_INT, _NO_FLOAT)),  # blocks that are turned to other positions
        *map(constant, (_NO_FLOAT, _ZERO, _ZERO)),  # attention that leaves blocks out
        constant(_NO_FLOAT),  # sinks
        *map(constant, (_ZERO, _NO_INT, _NO_INT, _NO_INT)),  # blocks that are dropped
        constant(_NO_INT),  # token types
        *map(constant, (_NO_BYTE, _NO_INT)),  # a mask of queries
    ]
    attention = getattr(ov.op, _OPERATOR)(inputs)
    for name, number in (("num_k_heads", shared), ("k_head_size", width)):
        attention.set_rt_info(number, name)
        attention.set_rt_info(number, name.replace("k_", "v_"))
    sizes = constant(np.array([-1, 1, heads * width]))
    return operators.reshape(attention.output(0), sizes, False).outputs()
