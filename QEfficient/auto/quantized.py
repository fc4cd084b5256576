"""How an object that ``quantize`` gave is compiled from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.compress.record import CARD_FORM
from QEfficient.errors import OptionError
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
            OptionError: Others were given in place of what the model was quantized to, or no verification, which the
                texts and limits that it was quantized with are for.
        """
        done = dict(given)
        if given["verify"] == "off" and (kept := [name for name in _VERIFIED if self.keywords.get(name) is not None]):
            raise OptionError(
                f"This model was quantized with {' and '.join(kept)}, by which its programs are verified.",
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
                    f"This model is quantized to {self.to!r}, and is to be compiled to something else.",
                    got=f"{name}={done[name]!r}",
                    allowed=f"{name}={own!r}, or leave it out",
                    do="compile the model that this one was made from",
                )
        return done

    def check(self, backend: Backend) -> None:
        """Refuses a backend that would compute as if nothing had been quantized.

        Raises:
            OptionError: The form is the card's, and the backend is a host's.
        """
        if self.to == CARD_FORM and backend.name in registry.HOSTS:
            raise OptionError(
                f"The backend {backend.name!r} stores no matrices in MXFP6: the model would stay as it is.",
                got=f"backend={backend.name!r}",
                allowed="'emulator', 'qaic'",
                do='leave backend out, or quantize to "int8" or "int8_weights"',
            )
