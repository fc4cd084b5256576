"""Reading a model whose layers have widths of their own, which transformers' classes can't make of a config."""

from __future__ import annotations

from typing import Any

from QEfficient.errors import LoadError


def narrow_class(name: str) -> Any:
    """A class that makes what transformers' class of this name does, with the widths that its config says.

    Its ``from_pretrained`` is transformers' own. :func:`plain` gives what it made the class of transformers again.

    Args:
        name: Of a class that transformers has, such as ``"BertModel"``.

    Raises:
        LoadError: transformers has none, as for a model that brings its own code.
    """
    import transformers

    from QEfficient.pytorch_transforms.widths import give_widths, read_widths

    kind: Any = getattr(transformers, name, None)
    if not isinstance(kind, type):
        raise LoadError(
            "A model whose layers have widths of their own can only be read as a class of transformers.",
            got=f"the class {name}",
            allowed="a model without code of its own, with transformers' own class for the task",
            do="load it as the class that it was saved from",
        )

    class Narrow(kind):  # type: ignore[misc]
        """See :func:`narrow_class`."""

        def __init__(self, config: Any, *args: Any, **keywords: Any) -> None:
            super().__init__(config, *args, **keywords)
            give_widths(self, read_widths(config))

    Narrow.__name__, Narrow.__module__ = name, kind.__module__  # by which transformers knows its own
    return Narrow


def plain(model: Any) -> Any:
    """The model, of transformers' own class."""
    model.__class__ = type(model).__mro__[1]
    return model
