"""Makes one operator of a decoder's attention over a cache, for onnxruntime."""

from __future__ import annotations

import onnx_ir as ir

from QEfficient.onnx_transforms import new_values
from QEfficient.onnx_transforms.cached_layers import CachedLayer, cached_layers, slots_are_counted
from QEfficient.onnx_transforms.layer_values import by_token, give_result, take_place
from QEfficient.onnx_transforms.rotary_tables import Rotated, half_table, rotated
from QEfficient.onnx_transforms.row_lengths import RowLengths
from QEfficient.records import ROW_SLOTS

DOMAIN, OPERATOR = "com.microsoft", "GroupQueryAttention"

_TURNS = 16  # widths of a head that the operator turns by positions are multiples of it


class JoinCachedAttention(ir.passes.InPlacePass):
    """Makes one operator of attention over a cache of all positions: onnxruntime's ``GroupQueryAttention``.

    It writes a chunk's keys and values into the cache, turns queries and keys by their positions where the graph does
    so from tables, and reads as much of the cache as is used: some 40 nodes of each layer. What is joined is what
    ``slot_cache.WholeView`` and ``grouped_attention`` export, with a window or a soft cap or without. Whatever differs
    keeps its nodes: rings, biases by distance, widths of a head that are no multiple of 8.

    The operator knows no slots. A cache that it reads has the rows of a run along its first axis, as many slots as the
    run has rows (``records.ROW_SLOTS``). A row's tokens stand at its start, at consecutive positions, −1 behind them.
    Whoever runs the graph sees to both (``backends.slot_runs``).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Changes ``model`` in place."""
        found = [] if slots_are_counted(model) else list(cached_layers(model))
        if found:
            _Joining(model).join(found)
            model.graph.opset_imports[DOMAIN] = 1
        return ir.passes.PassResult(model, modified=bool(found))


class _Joining:
    """Puts the operators into a graph."""

    def __init__(self, model: ir.Model) -> None:
        self._graph, self._names = model.graph, new_values.Names(model)
        self._lengths = RowLengths(model.graph, self._names)
        self._halves: dict[ir.Value, ir.Value] = {}

    def join(self, layers: list[CachedLayer]) -> None:
        for layer in layers:
            self._join(layer)
        self._count_other_slots([cache.before for layer in layers for cache in (layer.key, layer.value)])

    def _join(self, layer: CachedLayer) -> None:
        last, name = layer.result.producer(), str(layer.result.name)
        assert last is not None
        query, key, tables = layer.query, layer.key.new, self._tables(layer)
        if tables is not None:
            query, key = tables[0].states, tables[1].states
        states = [by_token(value, last, self._graph, self._names) for value in (query, key, layer.value.new)]
        attributes: dict[str, int | float] = {"num_heads": layer.heads, "kv_num_heads": layer.shared_heads}
        attributes |= {"scale": layer.scale, "do_rotary": int(tables is not None)}
        if layer.window is not None:
            attributes["local_window_size"] = layer.window
        if layer.softcap is not None:
            attributes["softcap"] = layer.softcap
        turned = [None, None] if tables is None else [self._half(tables[0].cos), self._half(tables[0].sin)]
        lengths = self._lengths
        before = [cache.before for cache in (layer.key, layer.value)]
        inputs = [*states, *before, lengths.last, lengths.longest, *turned, *[None] * 7, lengths.tokens]
        shape = ir.Shape([*list(layer.result.shape or ())[:2], layer.heads * layer.width])
        outputs = [ir.Value(name=self._names.new(f"{name}_attention"), type=layer.result.type, shape=shape)]
        outputs += [self._afterwards(cache.before, cache.after) for cache in (layer.key, layer.value)]
        joined = ir.node(OPERATOR, inputs, attributes, domain=DOMAIN, outputs=outputs, name=f"{name}_attention")
        joined.metadata_props.update(last.metadata_props)
        last.prepend(joined)
        give_result(layer, outputs[0], self._graph, self._names)

    def _tables(self, layer: CachedLayer) -> tuple[Rotated, Rotated] | None:
        """How queries and keys are turned, if that is by the same tables and the operator can do it."""
        query, key = rotated(layer.query), rotated(layer.key.new)
        if query is None or key is None or (query.cos, query.sin) != (key.cos, key.sin):
            return None
        return (query, key) if layer.width % _TURNS == 0 else None

    def _half(self, table: ir.Value) -> ir.Value:
        if table not in self._halves:
            self._halves[table] = half_table(self._graph, table, self._names)
        return self._halves[table]

    def _afterwards(self, before: ir.Value, after: ir.Value) -> ir.Value:
        """An output in the place of a cache after the run, which has the rows' slots only, as the input has now."""
        before.shape = ir.Shape([ROW_SLOTS, *list(before.shape or ())[1:]])
        made = ir.Value(type=after.type, shape=before.shape)
        take_place(after, made)
        return made

    def _count_other_slots(self, states: list[ir.Value]) -> None:
        """Lets the slots be counted of a cache that still has them all along its first axis, where one does."""
        others = [value for value in self._graph.inputs if str(value.name).startswith("past_") and value not in states]
        for state in states:
            for node, _ in list(state.uses()) if others else ():
                if node.op_type == "Shape" and (node.attributes.get_int("start", 0) or 0) == 0:
                    node.replace_input_with(0, others[0])
