"""What reads a model's inputs while it is trained: HuggingFace's tokenizer, image processor or feature extractor."""

from __future__ import annotations

from typing import Any

from QEfficient.errors import UsageError
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.origin import Origin
from QEfficient.tasks.catalogue import AUDIO_CLASSIFICATION, IMAGE_CLASSIFICATION, SPEECH_RECOGNITION
from QEfficient.tasks.task import Task
from QEfficient.text.convert import without_advice


def own_processor(origin: Origin, task: Task, tokenizer: Any, processor: Any) -> Any:
    """The model's own, or the caller's.

    Args:
        origin: The model.
        task: What it is for.
        tokenizer: The caller's, of a model of texts; ``None``: the model's own.
        processor: Likewise, of a model of images or clips.
    """
    signals = task in (IMAGE_CLASSIFICATION, AUDIO_CLASSIFICATION, SPEECH_RECOGNITION)
    name, odd = ("tokenizer", tokenizer) if signals else ("processor", processor)
    if odd is not None:
        raise UsageError(
            f"A model for {task.name} is not trained with a {name} of its own.",
            got=f"{name}={type(odd).__name__}",
            allowed="processor=…" if signals else "tokenizer=…",
            do=f"drop {name}, or pass it as {'processor' if signals else 'tokenizer'}",
        )
    if not signals:
        return own_tokenizer(origin, tokenizer)
    if processor is not None:
        return processor
    if origin.folder is None:
        raise UsageError(
            "A model in memory has nothing that reads its inputs.",
            got=origin.name,
            allowed="processor=…, as AutoImageProcessor, AutoFeatureExtractor or AutoProcessor gives it",
            do="pass the one that the model was made for",
        )
    if task is IMAGE_CLASSIFICATION:
        return _loaded(origin, "AutoImageProcessor")
    if task is AUDIO_CLASSIFICATION:
        return _loaded(origin, "AutoFeatureExtractor")
    from QEfficient.train.speech import SpeechProcessor

    return SpeechProcessor(_loaded(origin, "AutoFeatureExtractor"), _loaded(origin, "AutoTokenizer"))


def own_tokenizer(origin: Origin, given: Any, *, slow: bool = False) -> Any:
    """The model's own, or the caller's.

    Args:
        origin: The model.
        given: The caller's; ``None``: the model's own.
        slow: Whether one without a fast form will do, as Marian's.
    """
    if given is None and origin.folder is None:
        raise UsageError(
            "A model in memory has no tokenizer, and texts can't be read without one.",
            got=origin.name,
            allowed="tokenizer=…, as AutoTokenizer.from_pretrained gives it; or a model that from_pretrained found",
            do="pass the tokenizer that the model was made for",
        )
    given = _loaded(origin, "AutoTokenizer") if given is None else given
    if not slow and not getattr(given, "is_fast", False):
        raise UsageError(
            "The tokenizer has no fast form.",
            got=type(given).__name__,
            allowed="a tokenizer of the tokenizers library",
            do="pass tokenizer=… with a fast one",
        )
    return given


def _loaded(origin: Origin, kind: str) -> Any:
    import transformers

    trusted = {"trust_remote_code": True} if isinstance(origin, Checkpoint) and origin.remote_code else {}
    keywords = {**origin.tokenizer_keywords, **trusted}
    with without_advice():
        return getattr(transformers, kind).from_pretrained(str(origin.folder), **keywords)
