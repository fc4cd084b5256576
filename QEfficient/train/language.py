"""Trains language models: those that write on (causal), and those that read one text and write another (seq2seq)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from QEfficient.errors import OptionError, UsageError
from QEfficient.records import Json
from QEfficient.source.loading import quiet
from QEfficient.train.fingerprint import reading
from QEfficient.train.language_checks import check_language_model, check_language_rows, language_limit
from QEfficient.train.language_features import LanguageReader, check_chat_template, language_collator
from QEfficient.train.language_rows import CAUSAL, SEQ2SEQ
from QEfficient.train.language_trainer import LanguageData
from QEfficient.train.request import TrainRequest, refuse
from QEfficient.train.rows import check_tokens
from QEfficient.train.run import Score, needs
from QEfficient.train.training import Training, train_in_folder

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.evaluate.record import Examples
    from QEfficient.train.record import Trained

_NOTHING = ("loss", "class_weights", "hard_negatives")


def fine_tune_causal(
    module: nn.Module,
    tokenizer: Any,
    train: Examples,
    held_out: Examples | None = None,
    request: TrainRequest | None = None,
    *,
    score: Score | None = None,
) -> Trained:
    """Trains a model that writes on, in place: hand in a copy of one that is still needed.

    What counts of a row, and what becomes of one that is too long, stands with
    :meth:`QEfficient.train.language_features.LanguageReader.causal`. Where the tokenizer has no token to pad with, its
    end-of-sequence token does, which is masked and no label there. Config and generation config name the tokenizer's
    special tokens afterwards, as transformers' trainer has it, so that generation ends where the model has learnt to.

    Args:
        module: A ``…ForCausalLM``, in float32.
        tokenizer: HuggingFace's, with an end-of-sequence token; for chats a fast one.
        train: Rows for ``"text-generation"``, see :func:`QEfficient.train.language_rows.read_language_rows`.
        held_out: Likewise. The mean loss of their tokens is measured before and after (its exponential is the
            perplexity), and for early stopping.
        request: How to train. Adapters stand on every linear layer but the one that writes words.
        score: Asked about the module before and after; it may let it generate.

    Returns:
        The module with its new weights, and how they came to be.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: The module is no such model, or the rows do not fit. Nothing was trained.
        UsageError: The tokenizer lacks what the rows need, or generation could not be saved.
        OptionError: A keyword does not fit this kind of model.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    request = request or TrainRequest()
    refuse(request, "a causal language model", *_NOTHING, "prompts")
    _check(module, tokenizer, CAUSAL, (train, held_out), request)
    if any(rows is not None and "messages" in rows.columns for rows in (train, held_out)):
        check_chat_template(tokenizer)
    reader = LanguageReader(tokenizer, language_limit(module, tokenizer, request))
    rows = reader.causal(train, "training")
    others = None if held_out is None else reader.causal(held_out, "held-out")
    pad = tokenizer.pad_token_id
    data = LanguageData(True, rows, others, language_collator(tokenizer.eos_token_id if pad is None else pad))
    read = {**_reading(module, reader, data), "chat_template": tokenizer.chat_template}
    return train_in_folder(
        Training(module, tokenizer, read, train, held_out, request, partial(data.trainer, request), score)
    )


def fine_tune_seq2seq(
    module: nn.Module,
    tokenizer: Any,
    train: Examples,
    held_out: Examples | None = None,
    request: TrainRequest | None = None,
    *,
    score: Score | None = None,
) -> Trained:
    """Trains a model that reads a text and writes another one, in place: hand in a copy of one that is still needed.

    The loss is on the target's tokens, its end-of-sequence token among them. The model itself makes the decoder's input
    of them (``prepare_decoder_input_ids_from_labels``). Sources and targets that are too long are cut. Config and
    generation config name the tokenizer's special tokens afterwards, as transformers' trainer has it.

    Args:
        module: A ``…ForConditionalGeneration`` or one like it, in float32.
        tokenizer: HuggingFace's; targets are read with its ``text_target``.
        train: Rows for ``"text2text-generation"``, see :func:`QEfficient.train.language_rows.read_language_rows`.
        held_out: Likewise. The mean loss of their tokens is measured before and after, and for early stopping.
        request: How to train. Its ``prompts``, a string, stands before every source, as T5's ``"summarize: "`` does.
        score: Asked about the module before and after; it may let it generate.

    Returns:
        The module with its new weights, and how they came to be.

    Raises:
        MissingExtraError: The extra ``train`` is not installed.
        InputError: The module is no such model, or the rows do not fit. Nothing was trained.
        UsageError: The tokenizer has no token to end or to pad with, the model makes no decoder's input of labels, or
            generation could not be saved.
        OptionError: A keyword does not fit this kind of model.
        KeyboardInterrupt: With a note of the last checkpoint.
    """
    request = request or TrainRequest()
    refuse(request, "a sequence-to-sequence model", *_NOTHING)
    _check(module, tokenizer, SEQ2SEQ, (train, held_out), request)
    reader = LanguageReader(tokenizer, language_limit(module, tokenizer, request), _prefix(request))
    rows = reader.seq2seq(train, "training")
    others = None if held_out is None else reader.seq2seq(held_out, "held-out")
    data = LanguageData(False, rows, others, language_collator(*_padding(module, tokenizer)))
    read = _reading(module, reader, data)
    _check_decoder(module, data)
    return train_in_folder(
        Training(module, tokenizer, read, train, held_out, request, partial(data.trainer, request), score)
    )


def _check(
    module: nn.Module,
    tokenizer: Any,
    task: str,
    rows: tuple[Examples, Examples | None],
    request: TrainRequest,
) -> None:
    needs("accelerate", *(["peft"] if request.lora else []))
    check_language_rows(*rows, request, task)
    check_language_model(module, tokenizer, task, request.lora)


def _reading(module: Any, reader: LanguageReader, data: LanguageData) -> dict[str, Json]:
    """How texts are read, for the run's key. The module's configs name the tokenizer's special tokens from here on."""
    from transformers import trainer_utils

    words = int(module.get_input_embeddings().weight.shape[0])
    for rows, where in ((data.rows, "training"), (data.held_out or (), "held-out")):
        check_tokens(([*one["input_ids"], *one["labels"]] for one in rows), words, where)
    with quiet():
        align: Callable[[Any, Any], None] = trainer_utils.align_special_tokens
        align(module, reader.tokenizer)
    tokenizer = reader.tokenizer
    ends: dict[str, Json] = {"eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    return {**reading(tokenizer, reader.max_length, False), **ends}


def _prefix(request: TrainRequest) -> str:
    if request.prompts is None or isinstance(request.prompts, str):
        return request.prompts or ""
    raise OptionError(
        "A sequence-to-sequence model reads one kind of texts.",
        got=f"prompts={dict(request.prompts)!r}",
        allowed="one string",
        do="pass the string that stands before every source",
    )


def _padding(module: Any, tokenizer: Any) -> tuple[int, Callable[[Any], Any]]:
    """The token to pad with, and what makes the decoder's input of labels."""
    shifted = getattr(module, "prepare_decoder_input_ids_from_labels", None)
    if tokenizer.pad_token_id is None or shifted is None:
        lacking = "the tokenizer has no token to pad with" if shifted else "the model has no such method"
        raise UsageError(
            "The decoder's input can't be made of a batch of targets.",
            got=lacking,
            allowed="a tokenizer with pad_token set, and a model with prepare_decoder_input_ids_from_labels",
            do="set tokenizer.pad_token to a token that it has" if shifted else "choose another model",
        )
    return tokenizer.pad_token_id, lambda labels: shifted(labels=labels)


def _check_decoder(module: Any, data: LanguageData) -> None:
    """Transformers says at the first batch what the config lacks; here it says it before the run has a folder."""
    try:
        data.collate(data.rows[:1])
    except (ValueError, TypeError) as error:
        raise UsageError(
            "The model does not make the decoder's input of labels.",
            got=f"{error}; decoder_start_token_id={module.config.decoder_start_token_id!r}",
            allowed="a config with decoder_start_token_id and pad_token_id",
            do="set both in module.config",
        ) from error
