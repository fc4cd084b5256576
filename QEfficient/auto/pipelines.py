"""What ``transformers.pipeline`` asks of a model object, beside what every Auto object has."""

from __future__ import annotations

import sys
from functools import cache

from QEfficient.architectures import find
from QEfficient.auto.description import Description
from QEfficient.auto.road import L
from QEfficient.source.loaded_module import LoadedModule

_MODALITIES = {"pixel_values": "image", "input_values": "audio", "input_features": "audio"}


class PipelineModel(Description[L]):
    """The attributes of a model that transformers 5.23's pipelines read (``transformers/pipelines/*.py``)."""

    @property
    def hf_device_map(self) -> dict[str, str] | None:
        """``{"": "cpu"}`` on a machine with an accelerator of torch's: keeps a pipeline from moving the model there.

        It is the first attribute that a pipeline asks for, so it is here that the class becomes known to pipelines.
        """
        known = find(self.base_model_prefix).loaded_by
        register(type(self), known.get(self._task.auto_class, self._task.auto_class))
        import torch

        return {"": "cpu"} if torch.accelerator.is_available() else None

    @property
    def name_or_path(self) -> str:
        """Folder from which transformers reads this model's tokenizer or processor; ``""`` for one made in memory."""
        if self._origin is None:
            return str(self._need_loaded().program.path)
        if isinstance(self._origin, LoadedModule):
            return str(self.config.name_or_path)
        return str(self._origin.folder)

    @property
    def main_input_name(self) -> str:
        """The model's first input: ``"input_ids"``, ``"pixel_values"``, ``"input_values"`` or ``"input_features"``."""
        specs = find(self.base_model_prefix).inputs
        return specs(self.get_model_config)[0].name if specs else "input_ids"

    @property
    def input_modalities(self) -> str:
        """``"text"``, ``"image"`` or ``"audio"``."""
        return _MODALITIES.get(self.main_input_name, "text")

    @property
    def base_model_prefix(self) -> str:
        """How pipelines name the model in their errors: its ``model_type``."""
        return str(self.get_model_config.get("model_type", ""))

    def can_generate(self) -> bool:
        """False: no text comes out of an encoder."""
        return False


def register(kind: type, auto_class: str) -> None:
    """Makes ``transformers.pipeline`` take objects of a class without logging an error that it does not know them.

    A pipeline compares the name of the object's class with the classes that are registered for its task
    (``Pipeline.check_model_type``). Nothing is imported here: as long as the list of classes is not loaded, no pipeline
    is being made.

    Args:
        kind: The class of the object.
        auto_class: Name of transformers' Auto class for the same task, ``"AutoModelForSequenceClassification"``.
    """
    modeling_auto = sys.modules.get("transformers.models.auto.modeling_auto")
    if modeling_auto is not None:
        getattr(modeling_auto, auto_class).register(_marker(kind), kind)


@cache
def _marker(kind: type) -> type:
    """A config class of its own for ``kind``: the list maps config classes, and no model may ever get this entry."""
    from transformers import PreTrainedConfig

    name = kind.__qualname__
    return type(f"{name}PipelineConfig", (PreTrainedConfig,), {"model_type": f"qefficient-{name}"})
