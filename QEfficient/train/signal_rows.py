"""Images and clips → what a model is trained on. Each is read again when it is its turn: many fit into no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from QEfficient.errors import InputError
from QEfficient.evaluate.answers.signals import SIGNALS, samples_of
from QEfficient.evaluate.data import rgb_image

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.train.labelled import Feature

_LENGTHS = ("_get_feat_extract_output_lengths", "_get_subsampling_output_length")
"""What transformers' speech models call their function from samples, or frames read, to frames."""


class SignalRows(Sequence["Feature"]):
    """Rows whose images or clips are read when they are asked for.

    Args:
        read: A row's number → its inputs.
        labels: One a row, of any form.
        lengths: Samples or frames of each row; of images 1.
    """

    def __init__(self, read: Callable[[int], Feature], labels: Sequence[Any], lengths: Sequence[int]) -> None:
        self._read, self.labels, self.lengths = read, labels, lengths

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: Any) -> Any:
        return self._read(row) | {"labels": self.labels[row]}


@dataclass(frozen=True, slots=True)
class ImageReader:
    """What reads images for a model.

    Attributes:
        module: The model.
        processor: HuggingFace's image processor.
    """

    module: nn.Module
    processor: Any

    def rows(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[Any], where: str) -> SignalRows:
        """The images with their labels. All are read once, so that one that does not fit is found before training.

        Args:
            columns: With the role ``image``.
            labels: One a row.
            where: What an error calls the rows.

        Raises:
            InputError: An image has another shape than the first once the processor has read it, or none that the
                model takes.
        """
        images = columns["image"]

        def read(row: int) -> Feature:
            made = self.processor(rgb_image(images[row]), return_tensors="np")
            return {name: np.asarray(made[name][0]) for name in _taken(self.module, made)}

        shapes = [{name: value.shape for name, value in read(row).items()} for row in range(len(images))]
        odd = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
        if odd is not None:
            raise InputError(
                f"An image of the {where} rows has another shape than the first.",
                got=f"{shapes[odd]} in row {odd}, {shapes[0]} in row 0",
                allowed="images of one shape, as the processor makes them",
                do="resize the images, or load a processor that does",
            )
        found = SignalRows(read, labels, [1] * len(images))
        check_taken(self.module, self.collate([found[0]]), where, 0)
        return found

    def collate(self, features: Sequence[Feature]) -> Feature:
        """A batch of images with their labels."""
        import torch

        names = [name for name in features[0] if name != "labels"]
        batch = {name: torch.from_numpy(np.stack([one[name] for one in features])) for name in names}
        return batch | {"labels": torch.tensor([one["labels"] for one in features])}


@dataclass(frozen=True, slots=True)
class ClipReader:
    """What reads clips of sound for a model.

    Attributes:
        module: The model.
        extractor: HuggingFace's feature extractor.
    """

    module: nn.Module
    extractor: Any

    def rows(self, columns: Mapping[str, Sequence[Any]], labels: Sequence[Any], where: str) -> SignalRows:
        """The clips with their labels. All are read once, so that one that does not fit is found before training.

        Args:
            columns: With the role ``audio``.
            labels: One a row.
            where: What an error calls the rows.

        Raises:
            InputError: A clip is empty, has another sampling rate than the model, or is too short for it.
        """
        clips, rate = columns["audio"], int(self.extractor.sampling_rate)

        def read(row: int) -> Feature:
            samples = samples_of(clips[row], rate, row)
            if not len(samples):
                raise InputError(
                    f"A clip of the {where} rows is empty.",
                    got=f"0 samples in row {row}",
                    allowed="clips that hold sound",
                    do="drop such rows",
                )
            made = self.extractor(samples, sampling_rate=rate)
            return {name: np.asarray(made[name][0]) for name in _taken(self.module, made)}

        lengths = [sound_length(read(row)) for row in range(len(clips))]
        found = SignalRows(read, labels, lengths)
        shortest = int(np.argmin(lengths))
        check_taken(self.module, self.collate([found[shortest]]), where, shortest)
        self._check_long_enough(lengths[shortest], shortest, where)
        return found

    def _check_long_enough(self, length: int, row: int, where: str) -> None:
        """Spans of frames are hidden in training (SpecAugment), and transformers refuses a clip shorter than one."""
        config: Any = self.module.config
        span = int(getattr(config, "mask_time_length", 0))
        hides = getattr(config, "apply_spec_augment", False) and getattr(config, "mask_time_prob", 0) > 0
        frames = frames_of(self.module, length)
        if hides and frames is not None and frames < span:
            raise InputError(
                f"A clip of the {where} rows is shorter than the spans that are hidden in training.",
                got=f"{frames} frames in row {row}",
                allowed=f"{span} frames, the model's mask_time_length",
                do="drop such rows, or load the model with from_pretrained(…, apply_spec_augment=False)",
            )

    def collate(self, features: Sequence[Feature]) -> Feature:
        """A batch of clips with their labels: each clip is filled up to the longest, as the extractor does it."""
        import torch

        inputs = [{name: value for name, value in one.items() if name != "labels"} for one in features]
        padded = self.extractor.pad(inputs, padding=True, return_tensors="pt")
        return {name: padded[name] for name in _taken(self.module, padded)} | {
            "labels": torch.tensor([one["labels"] for one in features])
        }


def sound_length(feature: Feature) -> int:
    """Samples of a clip, or frames that its extractor made: those that are no filling."""
    if "attention_mask" in feature:
        return int(np.sum(feature["attention_mask"]))
    return len(next(feature[name] for name in SIGNALS if name in feature))


def frames_of(module: nn.Module, length: int) -> int | None:
    """How many frames of output a speech model makes of a clip; ``None`` of a model that does not say it.

    Args:
        module: The model.
        length: Samples, or frames that its extractor made.
    """
    import torch

    for part in (module, getattr(module, "base_model", None), getattr(module, "encoder", None)):
        for name in _LENGTHS:
            if hasattr(part, name):
                return int(getattr(part, name)(torch.tensor([length]))[0])
    return None


def check_taken(module: nn.Module, batch: Feature, where: str, row: int) -> None:
    """Runs one row, so that a shape that the model refuses is said before it is trained.

    Raises:
        InputError: The model refuses it.
    """
    import torch

    device = next(module.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items() if name != "labels"}
    modes = {part: part.training for part in module.modules()}
    try:
        with torch.no_grad():
            module.eval()(**inputs)
    except (ValueError, RuntimeError) as error:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
        raise InputError(
            f"The model can't read a row of the {where} rows.",
            got=f"{shapes} of row {row}: {error}",
            allowed="what the model's own processor makes of images and clips that are large enough",
            do="load the processor that belongs to the model, and drop clips that are too short",
        ) from error
    finally:
        for part, mode in modes.items():  # some parts may be frozen
            part.training = mode


def _taken(module: nn.Module, made: Mapping[str, Any]) -> list[str]:
    """The names of what the model takes of it."""
    known = signature(module.forward).parameters
    return [name for name in made if name in known]
