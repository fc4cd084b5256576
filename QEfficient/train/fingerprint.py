"""What decides the weights that come out of a run, as JSON: two runs that differ in it are two runs."""

from __future__ import annotations

import hashlib
import json
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from QEfficient import settings
from QEfficient.records import Json
from QEfficient.train.request import TrainRequest

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples

_NO_MATTER = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
"""What a config says beside what the model computes."""

_PLACES = ("_file", "_path")
"""How arguments of a tokenizer end that say where its files are."""

UNKNOWN_LOSS = "a function without a name of its own: "
"""How the loss of a run begins that nothing else can be told to be equal to."""


def reading(tokenizer: Any, limit: int | None, lower_case: bool) -> dict[str, Json]:
    """How texts become tokens.

    Args:
        tokenizer: HuggingFace's.
        limit: Tokens after which texts are cut.
        lower_case: Whether they are lower-cased before.
    """
    names = ("padding_side", "truncation_side", "model_input_names")
    sides: dict[str, Any] = {name: getattr(tokenizer, name, None) for name in names}
    return {"tokenizer": _tokenizer_digest(tokenizer), "limit": limit, "lower_case": lower_case, **sides}


def processor_reading(processor: Any) -> dict[str, Json]:
    """How images or clips are read.

    Args:
        processor: HuggingFace's image processor or feature extractor, or what has a ``feature_extractor`` and a
            ``tokenizer``.
    """
    extractor = getattr(processor, "feature_extractor", processor)
    told: dict[str, Json] = json.loads(json.dumps(extractor.to_dict(), sort_keys=True, default=repr))
    tokenizer = getattr(processor, "tokenizer", None)
    return {"processor": told} | ({} if tokenizer is None else {"tokenizer": _tokenizer_digest(tokenizer)})


def _tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a slow one: what it was made of
        told: dict[str, Any] = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
        given = getattr(tokenizer, "init_kwargs", {})
        told["init"] = {name: value for name, value in given.items() if not name.endswith(_PLACES)}
    else:
        told = json.loads(backend.to_str())
        told["truncation"] = told["padding"] = None  # left there by the last call
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()


def sentence_reading(model: Any, lower_case: bool) -> dict[str, Json]:
    """Likewise of a ``SentenceTransformer`` or a ``CrossEncoder``, with the parts behind its encoder and its prompts.

    Args:
        model: Its first part is the encoder.
        lower_case: Whether texts are lower-cased before.
    """
    parts = [{"part": type(part).__name__, **part.get_config_dict()} for part in list(model)[1:]]
    prompts = {"prompts": dict(model.prompts), "default_prompt": model.default_prompt_name}
    steps: Json = json.loads(json.dumps(parts, sort_keys=True, default=repr))
    return {**reading(model.tokenizer, model.max_seq_length, lower_case), "steps": steps, **prompts}


def fingerprint(
    request: TrainRequest,
    model: nn.Module,
    read: Mapping[str, Json],
    train: Examples,
    held_out: Examples | None,
) -> dict[str, Json]:
    """All that decides what weights come out.

    Args:
        request: How to train.
        model: What is trained, as it is before.
        read: How texts are read for it, as :func:`reading` has it.
        train: The rows.
        held_out: Those that are held out.
    """
    from QEfficient.source.identity import tensors_digest  # torch

    told: dict[str, Json] = {
        "model": f"{type(model).__name__} {tensors_digest(model)}",
        "config": _config(model),
        "reading": dict(read),
        "how": request.how(),
        "train": _rows(train),
        "held_out": None if held_out is None else _rows(held_out),
    }
    if callable(request.loss):
        told["loss"] = name_of_loss(request.loss)
    if request.early_stopping is not None:
        told["save_steps"] = request.save_steps  # it says when the loss is looked at, and so when the training stops
    if settings.training_processes() > 1:
        told["processes"] = settings.training_processes()  # each takes a batch of its own
    plain: dict[str, Json] = json.loads(json.dumps(told, default=repr))  # as it is read back
    return plain


def _config(model: Any) -> Json:
    module = model if hasattr(model, "config") else model[0].model
    given: dict[str, Any] = module.config.to_dict()
    return {str(name): value for name, value in given.items() if name not in _NO_MATTER}


def _rows(examples: Examples) -> dict[str, Json]:
    return {"task": examples.task, "digest": examples.digest, "label_names": list(examples.label_names)}


def name_of_loss(loss: Callable[..., Any]) -> str:
    """Where a function or class stands, by which it is found again; another name each time for any other callable."""
    module, name = getattr(loss, "__module__", None), getattr(loss, "__qualname__", "")
    if module in sys.modules and name.isidentifier() and getattr(sys.modules[module], name, None) is loss:
        return f"{module}.{name}"
    return UNKNOWN_LOSS + uuid.uuid4().hex
