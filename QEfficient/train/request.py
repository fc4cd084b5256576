"""How to train: the keywords of ``fine_tune``, parsed and checked once, before anything is loaded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any

from QEfficient import arguments
from QEfficient.cache import json_like
from QEfficient.errors import OptionError, unknown
from QEfficient.records import Json

LoraSettings = Mapping[str, Json]
ClassWeights = str | Mapping[str, float]

BALANCED, AUTO = "balanced", "auto"
LORA: LoraSettings = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
"""What ``lora=True`` stands for; every linear layer of the encoder gets an adapter."""

_NOT_HOW = ("output_dir", "resume", "save_steps", "tensorboard")
"""Fields that do not decide what weights come out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """How to train.

    Attributes:
        epochs: Passes over the data; a fraction ends within one.
        batch_size: Rows of a step, in each process.
        learning_rate: The highest, reached after the warmup, from which it falls linearly to 0. ``None``: 5e-5, and
            5e-4 for adapters.
        weight_decay: Of AdamW; biases and norms have none.
        warmup: Steps, or below 1 a share of all steps.
        seed: Of the order of rows, of dropout and of adapters. A new head starts with the same numbers whatever it is.
        max_steps: Steps in place of ``epochs``.
        max_length: Tokens after which texts are cut; ``None``: the model's own limit.
        dropout: In place of the model's own in every layer; ``None`` leaves it.
        lora: Train adapters in place of the weights, and merge them when done: peft's ``LoraConfig``, as a mapping;
            ``True`` is :data:`LORA`.
        gradient_accumulation: Of a language model or a model with a head: batches of a step, whose gradients are added
            up; the loss is the mean over all that counts in them, as in one batch of as many rows.
        gradient_checkpointing: Compute activations again in the backward pass, for less memory.
        precision: ``"auto"``: mixed precision on a GPU that has it; ``None``: float32.
        early_stopping: Stop when the held-out loss has not fallen this many evaluations running, and take the best
            weights. It needs held-out rows.
        loss: Of embedding models and rerankers: the name of a class of sentence-transformers' losses, or a function
            ``model -> loss``; ``None``: what fits the data.
        class_weights: Of classes, for rare ones to count more: label → weight, or ``"balanced"``: rows / (classes ×
            rows of the class), as scikit-learn has it.
        hard_negatives: Of pairs: so many negatives for each anchor, the nearest texts that are not its positive, as
            the untrained model finds them.
        prompts: Of embedding models: text before every text, or role → text, such as ``{"query": "query: ", "document":
            "passage: "}``; ``None``: the model's default prompt. The trained model has them: the one of every text as
            its default, ``query`` and ``document`` by these names.
        group_by_length: Of a model with a head: the rows of a step have about the same length, which saves padding.
        output_dir: Folder of the checkpoints; ``None``: below ``QEFF_HOME/train``.
        save_steps: Steps between two checkpoints, and evaluations; ``None``: an epoch.
        resume: Go on from the last checkpoint of the same run, if there is one.
        tensorboard: Write TensorBoard's event files into ``output_dir/runs``.
    """

    epochs: float = 1.0
    batch_size: int = 32
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    seed: int = 0
    max_steps: int | None = None
    max_length: int | None = None
    dropout: float | None = None
    lora: LoraSettings | None = None
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    precision: str | None = None
    early_stopping: int | None = None
    loss: str | Callable[[Any], Any] | None = None
    class_weights: ClassWeights | None = None
    hard_negatives: int | None = None
    prompts: str | Mapping[str, str] | None = None
    group_by_length: bool = True
    output_dir: Path | None = None
    save_steps: int | None = None
    resume: bool = False
    tensorboard: bool = False

    @property
    def rate(self) -> float:
        """The learning rate, with its default."""
        return self.learning_rate if self.learning_rate is not None else 5e-5 if self.lora is None else 5e-4

    def how(self) -> dict[str, Json]:
        """What of it decides the weights that come out, as JSON: for a fingerprint, and for people."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        loss = (
            self.loss
            if isinstance(self.loss, str | None)
            else getattr(self.loss, "__qualname__", type(self.loss).__name__)
        )
        known = fields | {"loss": loss, "learning_rate": self.rate}
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in known.items()
            if name not in _NOT_HOW
        }


def parse_request(keywords: Mapping[str, Any]) -> TrainRequest:
    """Keywords as a request.

    >>> parse_request({"epochs": 2, "lora": True}).rate
    0.0005

    Args:
        keywords: Attributes of :class:`TrainRequest` by name; what is left out has its default.

    Raises:
        OptionError: A name is unknown, or a value is out of range.
    """
    for name in keywords:
        if name not in _CHECKS:
            raise unknown(
                OptionError, f"fine_tune has no keyword {name!r}.", name, _CHECKS, do="correct its name, or drop it"
            )
    return TrainRequest(**{name: _CHECKS[name](name, value) for name, value in keywords.items()})


def refuse(request: TrainRequest, kind: str, *names: str) -> None:
    """Refuses keywords that would do nothing.

    Args:
        request: As parsed.
        kind: What is trained, for the error.
        names: Fields that must have been left out, or have their defaults.

    Raises:
        OptionError: One is given.
    """
    for field in dataclasses.fields(request):
        if field.name not in names:
            continue
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if (value := getattr(request, field.name)) != default:
            raise OptionError(
                f"{field.name} does nothing for {kind}.",
                got=f"{field.name}={value!r}",
                allowed=f"{field.name}={default!r}",
                do=f"drop {field.name}",
            )


def _real(least: float, most: float, what: str) -> Callable[[str, object], float]:
    """A check: a number from ``least`` to ``most``, which it may be unless it is infinite."""

    def check(name: str, value: object) -> float:
        if isinstance(value, Real) and not isinstance(value, bool) and least <= float(value) <= most:
            if math.isfinite(float(value)):
                return float(value)
        upper = f" to {most:g}" if math.isfinite(most) else " on"
        raise _refused(name, value, f"{what} from {least:g}{upper}")

    return check


def _above_zero(name: str, value: object) -> float:
    number = _real(0, math.inf, "a number")(name, value)
    if number == 0:
        raise _refused(name, value, "a number above 0")
    return number


def _count(what: str) -> Callable[[str, object], int]:
    return lambda name, value: arguments.positive(name, value, what)


def _optional(check: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool) or value is None:
        return bool(value)
    raise _refused(name, value, "True or False")


def _seed(name: str, value: object) -> int:
    number = arguments.whole(value)
    if number is None or not 0 <= number < 2**32:
        raise _refused(name, value, "a whole number from 0 to 4294967295")
    return number


def _lora(name: str, value: object) -> LoraSettings | None:
    if value is None or value is False:
        return None
    if value is True:
        return dict(LORA)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _refused(name, value, "True, None, or a mapping of arguments of peft.LoraConfig, such as {'r': 8}")
    for key, one in value.items():
        if not json_like(one):
            raise _refused(f"{name}[{key!r}]", one, "numbers, strings, booleans, None, and lists of them")
    settings = {**LORA, **value}
    if find_spec("peft") is not None:
        import peft

        try:
            peft.LoraConfig(**settings)
        except (TypeError, ValueError) as error:
            raise OptionError(
                "peft refuses these settings of LoRA.",
                got=f"{name}={settings!r}: {error}",
                allowed="arguments of peft.LoraConfig; True for the defaults",
                do=f"correct {name}",
            ) from error
    return settings


def _precision(name: str, value: object) -> str | None:
    if value is None or value == AUTO:
        return None if value is None else AUTO
    raise _refused(name, value, '"auto" or None')


def _loss(name: str, value: object) -> object:
    if isinstance(value, str) and find_spec("sentence_transformers") is not None:
        from sentence_transformers.cross_encoder import losses as rerankers
        from sentence_transformers.sentence_transformer import losses

        known = sorted({one for one in (*losses.__all__, *rerankers.__all__) if one.endswith("Loss")})
        if value not in known:
            what = f"sentence-transformers has no loss {value!r}."
            known = [one for one in known if one.casefold() == value.casefold()] or known
            raise unknown(OptionError, what, value, known, argument=name, do="choose one of these, or pass a function")
    if isinstance(value, str) or callable(value):
        return value
    raise _refused(name, value, "the name of a class of sentence-transformers' losses, or a function model -> loss")


def _class_weights(name: str, value: object) -> ClassWeights:
    if value == BALANCED:
        return BALANCED
    if isinstance(value, Mapping) and value:
        return {str(label): _above_zero(f"{name}[{label!r}]", weight) for label, weight in value.items()}
    raise _refused(name, value, '"balanced", or a mapping of label to weight')


def _prompts(name: str, value: object) -> str | Mapping[str, str]:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair):
        return dict(value)
    raise _refused(name, value, "a string, or a mapping of column to string")


def _refused(name: str, value: object, allowed: str) -> OptionError:
    return OptionError(f"{name} can't be trained with.", got=f"{name}={value!r}", allowed=allowed, do=f"correct {name}")


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    "epochs": _above_zero,
    "batch_size": _count("rows"),
    "learning_rate": _optional(_above_zero),
    "weight_decay": _real(0, 1, "a number"),
    "warmup": _real(0, math.inf, "steps, or a share below 1,"),
    "seed": _seed,
    "max_steps": _optional(_count("steps")),
    "max_length": _optional(_count("tokens")),
    "dropout": _optional(_real(0, 1, "a share")),
    "lora": _lora,
    "gradient_accumulation": _count("batches"),
    "gradient_checkpointing": _flag,
    "precision": _precision,
    "early_stopping": _optional(_count("evaluations")),
    "loss": _optional(_loss),
    "class_weights": _optional(_class_weights),
    "hard_negatives": _optional(_count("texts")),
    "prompts": _optional(_prompts),
    "group_by_length": _flag,
    "output_dir": _optional(arguments.folder),
    "save_steps": _optional(_count("steps")),
    "resume": _flag,
    "tensorboard": _flag,
}
"""Keyword → what checks and brings it to its form."""
