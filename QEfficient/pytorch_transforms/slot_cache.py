"""The caches of a decoder's layers, as transformers' code sees them, addressed by slot and position.

Where a write is dropped its position is :data:`NOWHERE`, which the card ignores; the ONNX functions send it to where
nothing is read (``onnx_transforms.cache_functions``). What is read was always written: positions beyond a row's last
are read from its last one, so that no number of a fresh cache, NaN perhaps, reaches a product, hidden by its score or
not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from QEfficient.pytorch_transforms.embedding import MASKED
from QEfficient.records import Caches, LayerCache

DOMAIN = "com.qualcomm.cloud"
NOWHERE = 2**31 - 1
"""Position of a write that is dropped."""


@dataclass(frozen=True)
class Placement:
    """Where the tokens of a call belong.

    Attributes:
        positions: Of each token in its sequence, ``(batch, length)``; below 0: padding.
        slots: Of each row, ``(batch, 1)``; ``None`` where row n has cache n.
        keys: The positions that a cache of all positions is read at, ``(reach,)``: 0, 1, …
    """

    positions: Tensor
    slots: Tensor | None
    keys: Tensor

    @property
    def real(self) -> Tensor:
        """Which tokens are no padding."""
        return self.positions >= 0

    @property
    def last(self) -> Tensor:
        """Each row's largest position, ``(batch, 1)``; below 0 where all is padding."""
        return self.positions.amax(1, keepdim=True)

    @property
    def away(self) -> Tensor:
        """How far each key stands from each token, ``(batch, length, reach)``: below 0 before it."""
        return self.keys - self.positions[:, :, None]

    def scatter(self, state: Tensor, places: Tensor, new: Tensor) -> Tensor:
        """A cache after a write: ``new``, ``(batch, heads, length, width)``, at ``places``, ``(batch, length)``."""
        slots = () if self.slots is None else (self.slots,)
        return _node("CtxScatter", self.slots, (state, *slots, places, new), state, state.shape)

    def gather(self, state: Tensor, places: Tensor) -> Tensor:
        """What stands at ``places``, ``(batch, reach)``, of the rows' caches."""
        slots = () if self.slots is None else (self.slots,)
        shape = (self.positions.shape[0], state.shape[1], places.shape[1], state.shape[3])
        return _node("CtxGather", self.slots, (state, *slots, places), state, shape)


def _node(name: str, slots: Tensor | None, inputs: tuple[Tensor, ...], like: Tensor, shape: Any) -> Tensor:
    kind = f"{DOMAIN}::{name}{'' if slots is None else 'CB'}"
    made: Tensor = torch.onnx.ops.symbolic(kind, inputs, dtype=like.dtype, shape=shape, version=1)
    return made


def slots_of(batch_index: Tensor, state: Tensor) -> Tensor:
    """The slot of each row; a row without one has the last, the scratch slot."""
    scratch = state.shape[0] - 1
    return torch.where((batch_index >= 0) & (batch_index < scratch), batch_index, scratch)


class View(Protocol):
    """How the layers of one kind use their caches in one call."""

    mask: Tensor
    """Added to the scores of the keys that :meth:`update` gives, ``(batch, 1, length, keys)``."""

    def update(self, state: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """The keys, or values, that are attended to, and the cache afterwards."""
        ...


def additive(seen: Tensor) -> Tensor:
    """Which keys a token sees, ``(batch, length, keys)`` → what is added to their scores, ``(batch, 1, …)``."""
    return (1.0 - seen.to(torch.float32))[:, None] * MASKED


def _seen(keys: Tensor, queries: Tensor, window: int | None) -> Tensor:
    """Which keys a token sees: ``(1 or batch, keys)`` and ``(batch, length)`` → ``(batch, length, keys)``."""
    keys, queries = keys[:, None, :], queries[:, :, None]
    seen = keys <= queries
    return seen if window is None else seen & (keys > queries - window)


class WholeView:
    """A cache of all positions: it is written first, then read up to each row's last position."""

    def __init__(self, rows: Placement, state: Tensor, window: int | None) -> None:
        length, keys = state.shape[2], rows.keys[None]
        self._rows = rows
        self._written = torch.where(rows.real & (rows.positions < length), rows.positions, NOWHERE)
        self._read = torch.minimum(keys, rows.last.clamp(0, length - 1))
        self.mask = additive(_seen(keys, rows.positions, window))

    def update(self, state: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """As :class:`View` says."""
        state = self._rows.scatter(state, self._written, new)
        return self._rows.gather(state, self._read), state


class RingView:
    """A cache of the last positions: it is read as it was, the new tokens stand behind that, then the last are written.

    A chunk may be longer than the window, and may start anywhere, so its own tokens are never looked for in the ring.
    Where row n has cache n, the ring's last place takes dropped writes: it then holds one position less, which is all
    that the next token sees of a window.
    """

    def __init__(self, rows: Placement, state: Tensor, window: int) -> None:
        length = state.shape[2]
        places = torch.arange(length)[None]
        turn = torch.full((1,), length if rows.slots is not None else length - 1)  # places that are in use
        before = torch.where(rows.real, rows.positions, NOWHERE).amin(1, keepdim=True) - 1
        held = before - torch.remainder(before - places, turn)  # the position that each place holds
        held = torch.where(places < turn, held, -1)
        keys = torch.cat([held, rows.positions], dim=1)
        self._rows, self._length = rows, length
        self._places, self._held = places.expand(rows.positions.shape[0], -1), (held >= 0)[:, None, :, None]
        kept = rows.real & (rows.positions > rows.last - turn)  # no place is written twice
        self._written = torch.where(kept, torch.remainder(rows.positions, turn), NOWHERE)
        self.mask = additive((keys >= 0)[:, None, :] & _seen(keys, rows.positions, window))

    def update(self, state: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
        """As :class:`View` says."""
        old = torch.where(self._held, self._rows.gather(state, self._places), 0.0)
        both = torch.cat([old, new], dim=2)
        # New tokens are taken from behind the old: a cache that is written in place is then read before it is written.
        return both, self._rows.scatter(state, self._written, both[:, :, self._length :])


class SlotCache:
    """What transformers' attention takes for its ``Cache``: it hands a layer's new keys and values to the layer's view.

    Args:
        caches: Of each layer.
        rows: Where the tokens belong.
        states: ``past_key.N`` and ``past_value.N``.
        of: What stands before the dot in these names: ``"_self"`` where there are others.
    """

    def __init__(self, caches: Caches, rows: Placement, states: Mapping[str, Tensor], of: str = "") -> None:
        self.rows, self._states, self._of = rows, states, of
        self._views: dict[LayerCache, View] = {}
        for number, cache in enumerate(caches):
            if cache not in self._views:
                self._views[cache] = _view(cache, rows, states[f"past_key{of}.{number}"])
        self._of_layer = [self._views[cache] for cache in caches]
        self.updated: dict[str, Tensor] = {}

    @property
    def mask(self) -> Tensor | dict[str, Tensor]:
        """The finished mask, or that of each kind of layer where they differ."""
        masks = {cache.kind: view.mask for cache, view in self._views.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def get_seq_length(self, *_: Any) -> int:
        """Nothing: some models ask for it to count positions, which they are given."""
        return 0

    def update(self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All keys and values that a layer attends to."""
        read = []
        names = (f"past_{kind}{self._of}.{layer_idx}" for kind in ("key", "value"))
        for name, new in zip(names, (keys, values), strict=True):
            seen, self.updated[name] = self._of_layer[layer_idx].update(self._states[name], new)
            read.append(seen)
        return read[0], read[1]


def _view(cache: LayerCache, rows: Placement, state: Tensor) -> View:
    if cache.ring and cache.window is not None:
        return RingView(rows, state, cache.window)
    return WholeView(rows, state, cache.window)
