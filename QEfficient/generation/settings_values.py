"""How the value of one generation parameter is read and checked. Its limits are transformers' own.

Each function gets the parameter's name, as an error shows it, and the value; ``None`` has been dealt with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from QEfficient import arguments
from QEfficient.errors import OptionError

Read = Callable[[str, Any], Any]
SINGLE_TOKEN = "a token id, a whole number"


def wrong(name: str, value: object, allowed: str, do: str = "") -> OptionError:
    """The error of a value that is out of range, or of another kind."""
    return OptionError(f"{name} can't have this value.", got=repr(value), allowed=allowed, do=do or f"correct {name}")


def flag(name: str, value: object) -> bool:
    """``True`` or ``False``."""
    if not isinstance(value, (bool, np.bool_)):
        raise wrong(name, value, "True or False")
    return bool(value)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``least`` on.

    Attributes:
        least: The smallest; ``None`` for any.
        do: What to do with a smaller one.
    """

    least: int | None = 0
    do: str = ""

    def __call__(self, name: str, value: object) -> int:
        """Reads one."""
        number = arguments.whole(value)
        if number is None or (self.least is not None and number < self.least):
            raise wrong(
                name, value, "a whole number" + ("" if self.least is None else f" from {self.least} on"), self.do
            )
        return number


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number between two limits.

    Attributes:
        low, high: The limits.
        above, below: Whether the lower, the upper limit itself is out.
        do: What to do with another one.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    do: str = ""

    def __call__(self, name: str, value: object) -> float:
        """Reads one."""
        number = float(value) if arguments.is_number(value) else math.nan  # type: ignore[arg-type]
        inside = self.low <= number <= self.high and math.isfinite(number)
        if not inside or (self.above and number == self.low) or (self.below and number == self.high):
            raise wrong(name, value, self._allowed(), self.do)
        return number

    def _allowed(self) -> str:
        limits = [f"{'above' if self.above else 'from'} {self.low:g}"] if math.isfinite(self.low) else []
        limits += [f"{'below' if self.below else 'to'} {self.high:g}"] if math.isfinite(self.high) else []
        return " ".join(["a finite number", *limits])


def early_stopping(name: str, value: object) -> bool | Literal["never"]:
    """``True``, ``False`` or ``"never"``."""
    if isinstance(value, str) and value == "never":
        return "never"
    if not isinstance(value, (bool, np.bool_)):
        raise wrong(name, value, 'True, False or "never"')
    return bool(value)


def token(name: str, value: object) -> int:
    """One token id."""
    number = arguments.whole(value)
    if number is None or number < 0:
        raise wrong(name, value, f"{SINGLE_TOKEN} from 0 on")
    return number


def any_id(name: str, value: object) -> int:
    """One id that may be negative: repos have −1 for no token."""
    number = arguments.whole(value)
    if number is None:
        raise wrong(name, value, SINGLE_TOKEN)
    return number


def tokens(name: str, value: object) -> tuple[int, ...]:
    """One token id or a list of them, each once. Those below 0, which some repos have, are no token and drop out."""
    single = arguments.whole(value)
    numbers = [single] if single is not None else [arguments.whole(one) for one in _listed(name, value)]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise wrong(name, value, "a token id or a list of token ids, whole numbers")
    return tuple(dict.fromkeys(number for number in found if number >= 0))


def token_lists(name: str, value: object) -> tuple[tuple[int, ...], ...]:
    """A list of lists of token ids."""
    return tuple(_sequence(name, one, value) for one in _listed(name, value, least=1))


def sequence_bias(name: str, value: object) -> dict[tuple[int, ...], float]:
    """Tuple of token ids → bias, or transformers' other form of it, ``[[[ids], bias], …]``."""
    if isinstance(value, Mapping):
        pairs: list[Any] = list(value.items())
    else:
        pairs = _listed(name, value, least=1)
    if not pairs or any(
        isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2 for pair in pairs
    ):
        raise wrong(name, value, "a dict of tuples of token ids → bias, or a list of [token ids, bias], not empty")
    return {_sequence(name, ids, value): Number()(f"A bias of {name}", bias) for ids, bias in pairs}


def logit_bias(name: str, value: object) -> dict[int, float]:
    """OpenAI's form: token id, a number or its digits as JSON has it → −100 to 100."""
    if not isinstance(value, Mapping):
        raise wrong(name, value, "a dict of token id → bias from -100 to 100")
    biases = {}
    for key, bias in value.items():
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        biases[token(f"A token of {name}", number)] = Number(-100, 100)(f"A bias of {name}", bias)
    return biases


def decay(name: str, value: object) -> tuple[int, float]:
    """``(start, factor)``."""
    pair = _listed(name, value)
    if len(pair) != 2:
        raise wrong(name, value, "two numbers: the new tokens behind which it begins, and the factor")
    return Whole()(f"The start in {name}", pair[0]), Number(0, above=True)(f"The factor in {name}", pair[1])


def strings(name: str, value: object) -> tuple[str, ...]:
    """One string or a list of them, none empty."""
    many = [value] if isinstance(value, str) else _listed(name, value)
    if any(not isinstance(one, str) or not one for one in many):
        raise wrong(name, value, "a string or a list of strings, none of them empty")
    return tuple(many)


def logprobs(name: str, value: object) -> int | None:
    """How many of the best; ``True`` is none of them but the chosen token's, ``False`` nothing at all."""
    if isinstance(value, (bool, np.bool_)):
        return 0 if value else None
    return Whole(0, "pass how many of the best tokens are to be listed, or True for the chosen token alone")(
        name, value
    )


def _sequence(name: str, ids: object, whole_value: object) -> tuple[int, ...]:
    found = [arguments.whole(one) for one in ids] if isinstance(ids, (list, tuple)) else []
    numbers = tuple(number for number in found if number is not None and number >= 0)
    if not numbers or len(numbers) < len(found):
        raise wrong(name, whole_value, "lists of token ids, whole numbers from 0 on, none of them empty")
    return numbers


def _listed(name: str, value: object, least: int = 0) -> list[Any]:
    items = arguments.listed(name, value, "token ids", error=OptionError)
    if len(items) < least:
        raise wrong(name, value, "a list that is not empty")
    return items
