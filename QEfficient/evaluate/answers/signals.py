"""What a model answers to images and clips, read by its own processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient.errors import InputError
from QEfficient.evaluate.answers.labels import positions
from QEfficient.evaluate.answers.runner import Floats, TokenModel
from QEfficient.evaluate.answers.texts import labels_of
from QEfficient.evaluate.answers.tokens import batches
from QEfficient.evaluate.data import load_clip, rgb_image
from QEfficient.evaluate.record import Examples, Outcome

SIGNALS = ("input_values", "input_features")


def image_classification(model: TokenModel, examples: Examples) -> Outcome:
    """The label with the highest score."""
    processor = model.processor("AutoImageProcessor")
    scores = [
        model.arrays(processor(list(map(rgb_image, batch)), return_tensors="np"))["logits"]
        for batch in batches(examples.columns["image"])
    ]
    return _labelled(model, examples, np.concatenate(scores))


def audio_classification(model: TokenModel, examples: Examples) -> Outcome:
    """The label with the highest score."""
    return _labelled(model, examples, np.concatenate(list(_of_clips(model, examples.columns["audio"]))))


def _labelled(model: TokenModel, examples: Examples, scores: Floats) -> Outcome:
    names = labels_of(model)
    right = np.asarray(positions(examples.columns["label"], names, model.name, called=examples.label_names), np.intp)
    return Outcome(examples.task, right, scores.argmax(-1), scores, names, examples.clusters)


def speech_recognition(model: TokenModel, examples: Examples) -> Outcome:
    """The text of the likeliest letter at each frame, repeats joined and blanks dropped (CTC's greedy decoding)."""
    tokenizer = model.processor("AutoTokenizer")
    given: list[str] = []
    for logits in _of_clips(model, examples.columns["audio"]):
        letters = logits.argmax(-1)
        letters[(logits == 0).all(-1)] = tokenizer.pad_token_id  # beyond a clip's last frame: blanks
        given += tokenizer.batch_decode(letters)
    return Outcome(examples.task, examples.columns["text"], given, clusters=examples.clusters)


def _of_clips(model: TokenModel, clips: Sequence[Any]) -> Any:
    """The scores of clips, a batch at a time. Each is read by itself, so that no other one's length counts."""
    extractor = model.processor("AutoFeatureExtractor")
    rate: int = extractor.sampling_rate
    row = 0
    for batch in batches(clips):
        made = [extractor(samples_of(clip, rate, row + i), sampling_rate=rate) for i, clip in enumerate(batch)]
        name = next(name for name in SIGNALS if name in made[0])
        yield model.arrays({name: [np.asarray(one[name][0], np.float32) for one in made]})["logits"]
        row += len(batch)


def samples_of(clip: Any, rate: int, row: int) -> NDArray[np.float32]:
    """The samples of a clip, ``(samples,)``; where nothing is known of its sampling rate, it counts as the model's.

    Args:
        clip: As ``read_examples`` gives it.
        rate: Samples a second that the model reads.
        row: Where it stands, for the error.

    Raises:
        InputError: It has another sampling rate.
    """
    samples, own = load_clip(clip)
    if own not in (None, rate):
        raise InputError(
            "A clip has another sampling rate than the model reads.",
            got=f"row {row}: {own} Hz",
            allowed=f"{rate} Hz",
            do=f'resample the data: dataset.cast_column("audio", datasets.Audio(sampling_rate={rate}))',
        )
    return samples
