"""How an object that ``quantize`` gave is compiled from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from QEfficient.errors import OptionError
from QEfficient.records import Json

_FORM = ("compute", "mxfp6_matmul")


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
            OptionError: Others were given in place of what the model was quantized to.
        """
        done = dict(given)
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
