"""``QEFFAutoModelForSeq2SeqLM``: a source in, text about it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from QEfficient.auto.causal_lm import check_continuous
from QEfficient.auto.translating import Translating
from QEfficient.errors import UsageError
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION

if TYPE_CHECKING:
    from torch import nn

_ENDINGS = ("ForConditionalGeneration", "MTModel")


class QEFFAutoModelForSeq2SeqLM(Translating):
    """An encoder with its decoder on the card or the host: T5, mT5, Marian, BART, mBART, M2M-100 (NLLB), PEGASUS.

    Args:
        model: A HuggingFace model that is already loaded; its class ends in ``ForConditionalGeneration`` or
            ``MTModel``.
        continuous_batching: True compiles slots that any number of sources share; False the vendor's plain form, whose
            rows run together. ``None``: slots on the host, the plain form on the card.

    Raises:
        UsageError: The model is of another class.
    """

    _task = TEXT2TEXT_GENERATION

    def __init__(self, model: nn.Module, continuous_batching: bool | None = None) -> None:
        super().__init__(model)
        self._set(continuous_batching)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        continuous_batching: bool | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program.
            continuous_batching: As in the constructor. A saved program has its own form: another one is refused.
            *args: As ``transformers.AutoModelForSeq2SeqLM.from_pretrained`` takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …). A saved program takes ``backend`` (run its graph there), ``strict`` (exactly
                the compiled shapes) and ``check`` (compare every file's digest; sizes are always compared) instead.

        Raises:
            LoadError: No such model, or it can't be read.
            UsageError: A model of another class, or a saved program of another task or form.
        """
        self = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        self._set(continuous_batching)
        return self

    def _set(self, continuous: object) -> None:
        self._continuous = check_continuous(continuous)
        if self._origin is not None:
            _check_class(self._origin.class_name(), self._origin.name)
        elif continuous not in (None, self._need_loaded().facts.continuous):
            raise UsageError(
                "The saved program has another form.",
                got=f"continuous_batching={continuous}",
                allowed=f"continuous_batching={self._need_loaded().facts.continuous}, or leave it out",
                do="load the original model by name and compile it so",
            )

    def can_generate(self) -> bool:
        """True: text comes out."""
        return True


def _check_class(name: str, model: str) -> None:
    if not name.endswith(_ENDINGS):
        raise UsageError(
            f"{model!r} is no model that writes about what an encoder has read.",
            got=name,
            allowed=" or ".join(f"a class that ends in {ending}" for ending in _ENDINGS),
            do="load it with the class of its task: QEFFAutoModelForCausalLM for decoders, QEFFAutoModel for encoders",
        )
