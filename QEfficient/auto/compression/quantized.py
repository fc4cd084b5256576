"""How an object that ``quantize`` gave is compiled from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.compress.record import CARD_FORM
from QEfficient.errors import OptionError, UsageError
from QEfficient.records import Json

_FORM = ("compute", "mxfp6_matmul")
_VERIFIED = ("texts", "limits")


@dataclass(frozen=True, slots=True)
class Quantized:
    """What ``quantize`` was asked for.

    Attributes:
        to: As it names it: ``"int8"``.
        keywords: Those of ``compile`` that go with it; they fill in what its caller leaves out.
        steps: What is recorded of it.
    """

    to: str
    keywords: Mapping[str, Any]
    steps: tuple[Mapping[str, Json], ...]

    def filled_in(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of ``compile`` with these keywords where they are left out.

        Raises:
            OptionError: Others were given in place of what the model was quantized to: a precision, a backend that does
                not compute so, or no verification, which the texts and limits that it was quantized with are for.
        """
        done = dict(given)
        if given["verify"] == "off" and (kept := [name for name in _VERIFIED if self.keywords.get(name) is not None]):
            raise OptionError(
                f"A model that is quantized with {' and '.join(kept)} is verified by them.",
                got='verify="off"',
                allowed='verify="on"',
                do='leave verify out, or quantize with verify="off" and without them',
            )
        for name, value in self.keywords.items():
            if done[name] is None or done[name] is False:
                done[name] = value
        for name in _FORM:
            own = self.keywords.get(name, given[name])
            if done[name] != own:
                raise OptionError(
                    f"A model that is quantized to {self.to!r} is compiled with {name}={own!r}.",
                    got=f"{name}={done[name]!r}",
                    allowed=f"{name}={own!r}, or leave it out",
                    do="compile the model that quantize was called on, or quantize it to something else",
                )
        self._check_backend(registry.choose(done["backend"], done["compute"])[0])
        return done

    def _check_backend(self, backend: Backend) -> None:
        hosts, card = registry.HOSTS, self.to == CARD_FORM
        if (backend.name in hosts) == card:  # a host's would store the matrices as they are
            raise OptionError(
                f"The backend {backend.name!r} can't run what is quantized to {self.to!r}.",
                got=f"backend={backend.name!r}",
                allowed=", ".join(repr(name) for name in registry.names() if (name in hosts) != card),
                do=f"leave backend out, or quantize to {('int8_weights' if card else CARD_FORM)!r}",
            )


def refuse_quantized(known: Quantized | None, to: str) -> None:
    """Refuses to quantize what ``quantize`` gave.

    Raises:
        UsageError: The model is quantized, as ``known``.
    """
    if known is not None:
        raise UsageError(
            "This model is quantized already.",
            got=f"to {known.to!r}, and now to {to!r}",
            allowed="a model that quantize did not give",
            do="call quantize on the model that this one was made from",
        )
