"""The retained state of one activation of the fake card, and what runs on it moved."""

import threading

import numpy as np

_BLOCK = 32  # values that share a scale in MXINT8, by the Open Compute Project's Microscaling formats 1.0
_ITEM_SIZES = {0: 4, 1: 2, 6: 4, 7: 8, 8: 1}
_runs: list = []
_lock = threading.Lock()


def item_size(number: int) -> int:
    """Bytes of a binding's element; a type that no client knows has one."""
    return _ITEM_SIZES.get(number, 1)


def count(**run) -> None:
    with _lock:
        _runs.append(run)


def traffic() -> list:
    """The runs since the last call."""
    with _lock:
        found = list(_runs)
        _runs.clear()
    return found


class State:
    """An array for each pair, in the precision that it is kept in. Slots stand along the first axis."""

    def __init__(self, record: dict, start: str, control):
        dims = {b["name"]: tuple(b["dims"]) for b in record["bindings"]}
        self._pairs, self._precisions, self._control = record["pairs"], record["precisions"], control
        self._arrays = {name: _start(dims[name], self._precisions[name], start) for name in self._pairs}

    @property
    def nbytes(self) -> int:
        """Bytes on the card: in MXINT8 a value has one, and 32 of them one more."""
        mx = {name: array.size + array.size // _BLOCK for name, array in self._arrays.items()}
        return sum(mx[n] if self._precisions[n] == "mxint8" else a.nbytes for n, a in self._arrays.items())

    def inputs(self, given: dict) -> dict:
        """What the run sees of each pair: what the client passed, or else what is kept."""
        self._arrays |= {name: self._store(name, given[name]) for name in self._pairs if name in given}
        return dict(self._arrays)

    def keep(self, results: dict) -> dict:
        """Store every new value, fetched or not; they are handed out as they are stored."""
        self._arrays = {name: self._store(name, results[output]) for name, output in self._pairs.items()}
        return {output: self._arrays[name] for name, output in self._pairs.items()}

    def lose(self, slots) -> None:
        """Garbage in these slots, or in all."""
        for name, array in list(self._arrays.items()):
            here = range(len(array)) if slots is None else {s for s in slots.tolist() if 0 <= s < len(array)}
            lost = array.copy()
            lost[list(here)] = np.nan
            self._arrays[name] = lost

    def _store(self, name: str, array) -> np.ndarray:
        with np.errstate(over="ignore"):
            if self._precisions[name] == "float16":
                return array.astype(np.float16)
            if self._precisions[name] == "mxint8":
                return round_to_mxint8(array, self._control().get("mxint8_axis", -1))
        return array.copy()


def _start(dims: tuple, precision: str, start: str) -> np.ndarray:
    dtype = np.dtype(np.float16 if precision == "float16" else np.float32)
    if start == "zeros":
        return np.zeros(dims, dtype)
    bits, patterns = {2: (np.uint16, 0x7E00), 4: (np.uint32, 0x7FC00000)}[dtype.itemsize]
    noise = np.random.default_rng(0).integers(0, 0x200, dims).astype(bits)
    return (noise | bits(patterns)).view(dtype)


def round_to_mxint8(numbers: np.ndarray, axis: int = -1) -> np.ndarray:
    """The numbers that are left: 32 share a power of two, each is two's complement with six bits below 1."""
    turned = np.moveaxis(np.asarray(numbers, np.float32), axis, -1)
    length = turned.shape[-1]
    blocks = np.pad(turned, [(0, 0)] * (turned.ndim - 1) + [(0, -length % _BLOCK)])
    blocks = blocks.reshape(*turned.shape[:-1], -1, _BLOCK)
    largest = np.nanmax(np.where(np.isfinite(blocks), np.abs(blocks), 0), axis=-1, keepdims=True)
    scale = np.exp2(np.frexp(largest)[1] - 1.0)
    elements = np.clip(np.round(blocks / scale * 64), -127, 127) / 64  # -2 is left out; NaN stays NaN
    left = (elements * scale).reshape(*turned.shape[:-1], -1)[..., :length]
    return np.moveaxis(left, -1, axis).astype(np.float32)
