"""What must hold of a language model, its tokenizer and its rows before it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.train.adjust import check_trainable
from QEfficient.train.language_rows import CAUSAL, SEQ2SEQ
from QEfficient.train.rows import check_rows, room_of

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.train.request import LoraSettings, TrainRequest


def check_language_model(module: nn.Module, tokenizer: Any, task: str, lora: LoraSettings | None) -> None:
    """Refuses a module that does not write, and a tokenizer that does not say where a text ends.

    Raises:
        InputError: The module is of another kind, or all its weights are frozen.
        UsageError: The tokenizer has no end-of-sequence token, or transformers would not save the model.
        OptionError: Adapters would tear apart what is tied.
    """
    model: Any = module
    config, kind = model.config, type(module).__name__
    wanted = "AutoModelForCausalLM" if task == CAUSAL else "AutoModelForSeq2SeqLM"
    both_sides = getattr(config, "is_decoder", True) is False and task == CAUSAL
    writes = getattr(model, "can_generate", bool)() and model.get_output_embeddings() is not None
    if not writes or both_sides or bool(config.is_encoder_decoder) is not (task == SEQ2SEQ):
        raise InputError(
            f"This is no model for {task}.",
            got=f"{kind}, which looks at both sides of a token (is_decoder=False)" if both_sides and writes else kind,
            allowed=f"what {wanted} gives",
            do=f"load the model with transformers.{wanted}",
        )
    if getattr(config, "output_router_logits", False):
        raise UsageError(
            "A router's loss is not trained with.",
            got=f"{kind} with output_router_logits=True",
            allowed="output_router_logits=False",
            do="set config.output_router_logits = False",
        )
    if tokenizer.eos_token_id is None:
        raise UsageError(
            "The tokenizer has no end-of-sequence token, so the model would not learn where to end.",
            got=type(tokenizer).__name__,
            allowed="a tokenizer with eos_token set",
            do="set tokenizer.eos_token to a token that it has",
        )
    check_trainable(module)
    _check_generation(model)
    _check_tied(model, lora)


def _check_generation(model: Any) -> None:
    """What can't be saved is refused before hours of training."""
    try:
        if model.generation_config is not None:
            model.generation_config.validate(strict=True)
    except ValueError as error:
        raise UsageError(
            "transformers would not save the model's generation config.",
            got=str(error),
            allowed="settings that go together",
            do="correct module.generation_config",
        ) from error


def _check_tied(model: Any, lora: LoraSettings | None) -> None:
    """An adapter on one of two tables that are one weight would be merged into both, or make two of them."""
    words, written = model.get_input_embeddings(), model.get_output_embeddings()
    if lora is None or words.weight is not written.weight:
        return
    tables = {name.rpartition(".")[2] for name, part in model.named_modules() if part is words or part is written}
    for key in ("modules_to_save", "target_modules"):
        named = lora.get(key)
        if touched := tables & set(named if isinstance(named, list) else ()):
            raise OptionError(
                "The model reads and writes words with one and the same table, which adapters would tear apart.",
                got=f"lora={{{key!r}: {named!r}}}",
                allowed=f"modules other than {', '.join(sorted(tables))}",
                do=f"leave out {', '.join(sorted(touched))}, or train the whole model",
            )


def check_language_rows(train: Examples, held_out: Examples | None, request: TrainRequest, task: str) -> None:
    """Refuses rows for anything else.

    Raises:
        InputError: There are none, or they are for another task.
        UsageError: Early stopping lacks held-out rows.
    """
    check_rows(train, held_out, request)
    if train.task != task:
        raise InputError(
            f"These rows are not for {task}.",
            got=f"rows for {train.task}",
            allowed=f"rows for {task}",
            do=f"read them with read_language_rows(data, {task!r})",
        )


def language_limit(module: Any, tokenizer: Any, request: TrainRequest) -> int | None:
    """Tokens that a row can have: what is asked for, within what tokenizer and model have room for.

    Raises:
        OptionError: There is no room to write a token behind another one.
    """
    limit = min((one for one in (room_of(module, tokenizer), request.max_length) if one), default=None)
    if limit is not None and limit < 2:
        raise OptionError(
            "A language model learns to write a token behind another one.",
            got=f"max_length={limit}",
            allowed="2 tokens or more",
            do="pass a larger max_length",
        )
    return limit
