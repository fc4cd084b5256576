"""What callers write for transformers' ``generate``, run by ours: processors, criteria, streamers.

They get torch's tensors where torch is in use, and numpy's arrays in a process without it. Nothing is imported for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.arguments import on_host
from QEfficient.errors import UsageError
from QEfficient.generation.sampling.chain import Allowed, Processor
from QEfficient.generation.stopping import Stop


def tensor(array: NDArray[Any]) -> Any:
    """A copy of an array, as a tensor where torch is in use."""
    torch = sys.modules.get("torch")
    return array.copy() if torch is None else torch.from_numpy(array.copy())


def callables(name: str, value: Any) -> tuple[Callable[..., Any], ...]:
    """A caller's one function or list of them (``LogitsProcessorList`` is one).

    Raises:
        UsageError: Something is in it that can't be called.
    """
    if value is None:
        return ()
    many = list(value) if isinstance(value, (list, tuple)) else [value]
    for one in many:
        if not callable(one):
            raise UsageError(
                f"{name} holds something that can't be called.",
                got=f"{type(one).__name__}: {one!r:.60}",
                allowed="a function or object of (input_ids, scores), or a list of them",
                do="pass an object of transformers' classes, not its name",
            )
    return tuple(many)


def processor(call: Callable[..., Any]) -> Processor:
    """A ``LogitsProcessor``: it sees one row, ``(1, length)`` ids and ``(1, vocabulary)`` logits."""

    def process(ids: NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.asarray(on_host(call(tensor(ids[None]), tensor(logits[None]))), np.float32)
        if found.shape != (1, len(logits)):
            raise UsageError(
                "A logits processor changed the shape of the scores.",
                got=f"{found.shape} of {type(call).__name__}",
                allowed=f"{(1, len(logits))}, as it was given",
                do="give back one row",
            )
        row: NDArray[np.float32] = found[0]
        return row

    return process


def criterion(call: Callable[..., Any], prompt: Sequence[int]) -> Stop:
    """A ``StoppingCriteria`` over the ids of prompt and answer; its ``scores`` are ``None``."""
    before = np.asarray(prompt, np.int64)

    def ends(ids: NDArray[np.int64]) -> bool:
        return bool(np.asarray(on_host(call(tensor(np.concatenate([before, ids])[None]), None))).all())

    return ends


def allowed_tokens(call: Callable[..., Any] | None, row: int) -> Allowed | None:
    """A ``prefix_allowed_tokens_fn`` for one row."""
    if call is None:
        return None
    return lambda ids: [int(token) for token in call(row, tensor(ids))]


class Streamer:
    """A caller's streamer: it gets the prompt, each token as it comes, and the end.

    Args:
        streamer: Transformers' protocol: ``put(ids)`` and ``end()``.

    Raises:
        UsageError: It has not these two.
    """

    def __init__(self, streamer: Any) -> None:
        for name in ("put", "end"):
            if not callable(getattr(streamer, name, None)):
                raise UsageError(
                    "streamer is none.",
                    got=f"{type(streamer).__name__} without {name}()",
                    allowed="an object with put(ids) and end(), such as TextStreamer(tokenizer)",
                    do="make one, or iterate over stream(…)",
                )
        self._streamer = streamer

    def begin(self, prompt: NDArray[np.int64]) -> None:
        """The prompt as it came, ``(1, width)``."""
        self._streamer.put(tensor(prompt))

    def put(self, token: int) -> None:
        """A new token."""
        self._streamer.put(tensor(np.array([token], np.int64)))

    def end(self) -> None:
        """There is no more to come."""
        self._streamer.end()
