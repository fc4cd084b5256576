"""``QEFFAutoModelForCausalLM``: text in, text out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from QEfficient import arguments
from QEfficient.auto.decoder_road import Classes
from QEfficient.auto.generating import Generating
from QEfficient.build.refused_keywords import LOAD, checked_qaic_config, refuse_changed
from QEfficient.errors import OptionError
from QEfficient.tasks.catalogue import TEXT_GENERATION

if TYPE_CHECKING:
    from torch import nn


class QEFFAutoModelForCausalLM(Generating):
    """A decoder on the card or the host.

    Args:
        model: A HuggingFace model that is already loaded; its class ends in ``ForCausalLM`` or ``LMHeadModel``.
        continuous_batching: True compiles slots that any number of prompts share; False the vendor's plain form, whose
            rows run together. ``None``: slots on the host, the plain form on the card.
        qaic_config: The vendor's options about speculation and sampling: what is not at its default is refused by name,
            but for ``{"speculative_model_type": "target"}``, which ``num_speculative_tokens`` implies.
        max_seq_len_cached: Upper bound of ``ctx_len``, where it is less than the model's own limit.
        **kwargs: ``kv_offload`` and ``enable_proxy``, at their defaults.

    Raises:
        UsageError: The model is of another class.
    """

    _task = TEXT_GENERATION
    _classes = Classes(("ForCausalLM", "LMHeadModel"), "writes text", "QEFFAutoModel for encoders (docs: Task heads)")

    def __init__(
        self,
        model: nn.Module,
        continuous_batching: bool | None = None,
        qaic_config: Mapping[str, Any] | None = None,
        max_seq_len_cached: int | None = None,
        **kwargs: Any,
    ) -> None:
        _refuse_unknown(kwargs)
        super().__init__(model)
        self._set(continuous_batching, qaic_config, max_seq_len_cached)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        continuous_batching: bool | None = None,
        qaic_config: Mapping[str, Any] | None = None,
        max_seq_len_cached: int | None = None,
        layerwise: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program.
            continuous_batching: As in the constructor. A saved program has its own form: another one is refused.
            qaic_config: As in the constructor.
            max_seq_len_cached: As in the constructor.
            layerwise: Not built: anything but False is refused.
            *args: As ``transformers.AutoModelForCausalLM.from_pretrained`` takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …); ``full_batch_size``, the vendor's older word for
                ``continuous_batching=True``, with a warning. A saved program takes ``backend`` (run its graph there),
                ``strict`` (exactly the compiled shapes) and ``check`` (compare every file's digest; sizes are always
                compared) instead.

        Raises:
            LoadError: No such model, or it can't be read.
            UsageError: A model of another class, or a saved program of another task or form.
            NotYetSupportedError: A keyword that is not built, at another value than its default.
        """
        refuse_changed({"layerwise": layerwise, **kwargs}, LOAD)
        kwargs = {name: value for name, value in kwargs.items() if name not in LOAD}
        if kwargs.pop("full_batch_size", None) is not None:
            warnings.warn(
                "full_batch_size of from_pretrained is now continuous_batching=True; compile takes the number.",
                DeprecationWarning,
                stacklevel=2,
            )
            continuous_batching = True
        self = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        self._set(continuous_batching, qaic_config, max_seq_len_cached)
        return self

    def _set(self, continuous: object, qaic_config: object, longest: object) -> None:
        checked_qaic_config(qaic_config)
        self._longest = None if longest is None else arguments.positive("max_seq_len_cached", longest, "positions")
        self._take_form(continuous)


def _refuse_unknown(kwargs: Mapping[str, Any]) -> None:
    from QEfficient.errors import unknown

    refuse_changed(kwargs, LOAD)
    for name in kwargs:
        if name not in LOAD:
            what = f"The constructor has no keyword {name!r}."
            known = ("continuous_batching", "qaic_config", "max_seq_len_cached", *LOAD)
            raise unknown(OptionError, what, name, known, do="drop it; from_pretrained takes transformers' own")
