"""Names that people know from the vendor's package and that this version does not build yet."""

from __future__ import annotations

from typing import NoReturn

from QEfficient.errors import NotYetSupportedError


class _Later:
    _instead = "use QEFFAutoModel for encoders, or the class of a task; generative models come in a later version"

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._refuse()

    @classmethod
    def from_pretrained(cls, *args: object, **kwargs: object) -> NoReturn:
        """Always raises ``NotYetSupportedError``."""
        cls._refuse()

    @classmethod
    def _refuse(cls) -> NoReturn:
        raise NotYetSupportedError(
            f"{cls.__name__} is not built yet.",
            got=cls.__name__,
            allowed="QEFFAutoModel",
            do=cls._instead,
        )


class QEFFAutoModelForImageTextToText(_Later):
    """Vision-language models: not yet."""


class QEFFAutoModelForSpeechSeq2Seq(_Later):
    """Speech recognition with a decoder: not yet."""
