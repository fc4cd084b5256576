"""Torch's type promotion runs only the nodes that it changes.

Before it translates a graph, the exporter writes casts into it wherever torch's operators cast by themselves. Its pass
interprets the whole graph for that, node by node with fake tensors, which takes a third of the time of an export. What
a node that stays as it is gives is known: the trace left it in the node's ``meta``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx import Node

_PASS = "torch.onnx._internal.fx.passes.type_promotion"
_PARTS = ("run_node", "_set_current_node", "_maybe_promote_node")


@contextmanager
def only_changed_nodes() -> Iterator[None]:
    """While it is entered, an export's type promotion runs what it changes and makes. One thread at a time."""
    promotion: Any = importlib.import_module(_PASS)
    interpreter: Any = getattr(promotion, "_TypePromotionInterpreter", None)
    rule_of = getattr(promotion, "get_type_promotion_rule", None)
    if rule_of is None or not all(hasattr(interpreter, name) for name in _PARTS):
        yield  # another torch: its own way, at its own pace
        return
    torchs_own = interpreter.run_node

    def run_node(self: Any, node: Node) -> Any:
        if node.op != "call_function" or "val" not in node.meta:
            return torchs_own(self, node)
        rule = rule_of(node, self.type_promotion_table)
        if rule is not None:
            with self._set_current_node(node):  # what is made for it takes its module and its stack trace
                self._maybe_promote_node(node, rule)
        return node.meta["val"]

    interpreter.run_node = run_node
    try:
        yield
    finally:
        interpreter.run_node = torchs_own
