"""Checks of what callers pass, said once: whole numbers, paths, sequences of texts.

A container counts by position, whatever labels it carries itself: a pandas Series gives its values in order, whatever
its index. What has no order of its own, or is a table and not a list, is refused by name. Containers of other libraries
are known by what they can do; none is imported.
"""

from __future__ import annotations

import operator
import os
import reprlib
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, Set
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from QEfficient.errors import InputError, OptionError, UsageError, unknown

STRINGS = "strings"
"""What most lists hold, as an error calls it."""


# ---------------------------------------------------------------------------------------------- numbers and paths


def whole(value: object) -> int | None:
    """A whole number of any library as an int; ``None`` for what is none. A bool or a float is none, however round."""
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):  # torch's bools have an index
        return None
    try:
        return int(operator.index(value))  # type: ignore[arg-type]  # whether it has one is the question
    except TypeError:
        return None


def positive(name: str, value: object, what: str) -> int:
    """``value`` as a positive int.

    Raises:
        OptionError: It is none.
    """
    number = whole(value)
    if number is None or number < 1:
        raise OptionError(
            f"{name} is not a whole number of {what}.",
            got=f"{name}={value!r}",
            allowed="a whole number from 1 on",
            do=f"pass {name} as a positive int",
        )
    return number


class Unset(int):
    """The default of a keyword, told from the same number given by a caller."""


def unless_left_out(name: str, value: object, what: str) -> int | None:
    """``value`` as a positive int; ``None`` where it is the default of the keyword.

    Raises:
        OptionError: It is neither.
    """
    return None if isinstance(value, Unset) else positive(name, value, what)


def positives(name: str, value: object, what: str) -> list[int]:
    """One positive whole number, or a list of them, as a list.

    Raises:
        OptionError: It is neither.
    """
    single = isinstance(value, str) or whole(value) is not None or not (_iterates(value) or isinstance(value, Mapping))
    many = [value] if single else listed(name, value, "whole numbers", error=OptionError)
    return [positive(name, number, what) for number in many]


def one_of(name: str, value: object, allowed: Sequence[str]) -> str:
    """``value`` as one of a few words.

    Raises:
        UsageError: It is none of them; names the nearest.
    """
    if value not in allowed:
        what = f"There is no {name} {value!r}."
        raise unknown(UsageError, what, value, allowed, argument=name, do="choose one of these")
    return str(value)


def is_number(value: object) -> bool:
    """Whether a value is a real number of any library, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def path_like(name: str, value: object, allowed: str) -> None:
    """Refuses what is neither a string nor a path.

    Raises:
        UsageError: Anything else.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(
            f"{name} is not a string or a path.", got=f"{name}={value!r}", allowed=allowed, do="pass a string or a Path"
        )


def folder(name: str, value: object) -> Path:
    """A caller's folder to write to, absolute; it need not be there.

    Raises:
        UsageError: It is neither a string nor a path.
        OptionError: Something else than a folder is there.
    """
    path_like(name, value, "the path of a folder")
    path = Path(str(value)).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise OptionError(
            f"{name} is no folder.",
            got=f"{name}={str(path)!r}",
            allowed="a folder, or a path where none is yet",
            do=f"correct {name}",
        )
    return path


def device_ids(ids: Sequence[int]) -> tuple[int, ...]:
    """A caller's ``device_ids`` as plain ints, which is all that a card's runtime takes; numpy's numbers are fine.

    Raises:
        OptionError: It is no list of whole numbers.
    """
    found = [whole(number) for number in listed("device_ids", ids, "device ids", error=OptionError)]
    if None in found or isinstance(ids, Iterator):  # of those that come only once a second run would have none
        raise OptionError(
            "device_ids is not a list of device ids.",
            got=ids,
            allowed="a list of whole numbers, such as [0]",
            do="pass a list, or leave device_ids out to let the library choose",
        )
    return tuple(number for number in found if number is not None)


# ---------------------------------------------------------------------------------------------- lists


def listed(name: str, value: object, items: str = STRINGS, *, error: type[UsageError] = InputError) -> list[Any]:
    """A container's items by position; what gives each only once is read to its end.

    Args:
        name: What the caller calls it.
        value: A list, tuple, array, column, dict view, generator: whatever has an order of its own.
        items: What it should hold, as the error calls it. The items themselves are not looked at.
        error: What is raised.

    Raises:
        InputError: It has no order, is a table, or is no container. The message names its type and what to pass.
    """
    if type(value) is list or type(value) is tuple:
        return list(value)
    if isinstance(value, np.ndarray):
        return list(np.atleast_1d(value).tolist())
    _refuse(name, value, items, error)
    if hasattr(value, "to_pylist"):  # pyarrow's items are scalars of its own
        return list(value.to_pylist())
    if not hasattr(value, "__iter__"):
        many: Any = value
        return [many[place] for place in range(len(many))]
    return list(value)


def each(name: str, value: object, items: str = STRINGS) -> Iterator[Any]:
    """As :func:`listed` for what may have no end: one item after the other, none before it is asked for.

    Raises:
        InputError: As there.
    """
    if isinstance(value, np.ndarray) or hasattr(value, "to_pylist") or not hasattr(value, "__iter__"):
        return iter(listed(name, value, items))
    _refuse(name, value, items, InputError)
    return iter(value)


def strings(name: str, value: object) -> list[str]:
    """As :func:`listed`, each item a string.

    Raises:
        InputError: As there, or an item is something else; the message names its row.
    """
    texts = listed(name, value)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            _refuse_shape(name, value)
            string(row, text)
    return texts


def string(row: int, text: object) -> None:
    """Refuses an item that is no string.

    Raises:
        InputError: It names the row.
    """
    if not isinstance(text, str):
        raise InputError(
            f"Row {row} is not a string.",
            got=f"{type(text).__name__}: {text!r:.60}",
            allowed="str",
            do="flatten the list: one string a row"
            if isinstance(text, (list, tuple, np.ndarray))
            else "clean the list first, for example drop None and NaN",
        )


def optional_strings(name: str, value: object) -> tuple[str, ...]:
    """As :func:`strings`; ``None`` is none of them."""
    return () if value is None else tuple(strings(name, value))


def renamed(old: str, given: object, new: str, value: object) -> object:
    """A first argument that has two names, of which the caller used one; ``None`` is not given.

    Raises:
        UsageError: Both are given.
    """
    if given is not None and value is not None:
        raise UsageError(
            f"{old} and {new} are two names for one argument.",
            got=f"{new} and {old}",
            allowed=f"one of them; {old} is the older name",
            do=f"drop {old}",
        )
    return value if given is None else given


def arrays(name: str, value: object, items: str) -> Any:
    """Arrays, tensors and nested lists as they are; containers that numpy does not read row by row as lists.

    Args:
        name: What the caller calls it.
        value: One number, an array, or a container of arrays or of nested lists.
        items: What it should hold, as the error calls it.

    Raises:
        InputError: As :func:`listed`.
    """
    if isinstance(value, (list, tuple)) or hasattr(value, "detach") or is_number(value):
        return value
    array = np.asarray(value) if hasattr(value, "__array__") else None
    if array is not None and (array.dtype != object or not array.ndim):
        return array
    return listed(name, value, items)


def on_host(value: Any) -> Any:
    """Torch's tensors as arrays, one or a list of them, known by what they do: torch is not imported. Others stay."""
    if isinstance(value, (list, tuple)):
        return [one.detach().cpu().numpy() if hasattr(one, "detach") else one for one in value]
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _iterates(value: object) -> bool:
    if getattr(value, "ndim", 1) == 0:  # an array or a tensor of one number
        return False
    return hasattr(value, "__iter__") or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))


def _refuse(name: str, value: object, items: str, error: type[UsageError]) -> None:
    """Raises where a value is no list by position."""
    reason, do = _why_not(value, items)
    if reason:
        raise error(
            f"{name} is {reason}, not a list of {items}.",
            got=f"{type(value).__name__}: {' '.join(reprlib.repr(value).split()):.60}",
            allowed=f"a list of {items}; also a tuple, an array, a column, a generator: what has an order of its own",
            do=do,
        )


def _why_not(value: object, items: str) -> tuple[str, str]:
    """What a value is instead of a list, and what to pass; two empty strings for one that is a list."""
    if isinstance(value, str):
        return "a single string", f"put it into a list, if it is one of the {items}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes", "decode them first: value.decode('utf-8')"
    if _is_mapping(value):
        return "a mapping from names to values", "pass list(mapping.values()), or whichever of its parts is meant"
    if isinstance(value, Set) and not isinstance(value, (KeysView, ItemsView)):  # a dict's views have its order
        return "a set, which has no order of its own", "pass a list, such as sorted(…), so that results have an order"
    if _is_table(value):
        return "a table", _table_advice(items)
    if not _iterates(value):
        return "no container", f"pass a list of {items}"
    return "", ""


def _is_mapping(value: object) -> bool:
    """``Mapping``, or what has its methods; a pandas Series has ``keys``, but its ``values`` are an array."""
    return isinstance(value, Mapping) or all(callable(getattr(value, name, None)) for name in ("keys", "values"))


def _is_table(value: object) -> bool:
    """Whether its type has named columns: a data frame, a table of pyarrow, a data set. A cursor's is a method."""
    return any(
        hasattr(type(value), name) and not callable(getattr(type(value), name)) for name in ("columns", "column_names")
    )


def _table_advice(items: str) -> str:
    if items.startswith("pairs"):
        return 'pass list(zip(table["query"], table["document"])), with the names of its columns'
    return 'pass one of its columns: table["text"]'


def _refuse_shape(name: str, value: object) -> None:
    """Of an array whose rows are arrays, it is the array that does not fit."""
    shape: Sequence[int] | Any = getattr(value, "shape", ())
    if isinstance(shape, Iterable) and len(tuple(shape)) > 1:
        raise InputError(
            f"{name} is an array of {len(tuple(shape))} dims, not a list of {STRINGS}.",
            got=f"{type(value).__name__} of shape {tuple(shape)}",
            allowed="one dim",
            do="pass one of its columns: array[:, 0]",
        )
