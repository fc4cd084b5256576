"""``QEFFAutoModelForSeq2SeqLM``: a source in, text about it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from QEfficient.auto.decoder_road import Classes
from QEfficient.auto.translating import Translating
from QEfficient.tasks.catalogue import TEXT2TEXT_GENERATION

if TYPE_CHECKING:
    from torch import nn


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
    _classes = Classes(
        ("ForConditionalGeneration", "MTModel"),
        "writes about what an encoder has read",
        "QEFFAutoModelForCausalLM for decoders, QEFFAutoModel for encoders",
    )

    def __init__(self, model: nn.Module, continuous_batching: bool | None = None) -> None:
        super().__init__(model)
        self._take_form(continuous_batching)

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
        self._take_form(continuous_batching)
        return self
