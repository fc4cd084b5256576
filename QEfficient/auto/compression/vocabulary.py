"""Pruning the vocabulary of an Auto object: texts → the tokens that stay → another object, on a folder of its own."""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from QEfficient import arguments, hub, settings
from QEfficient.auto.compression.guarding import drops_between_models, rows_as_json
from QEfficient.auto.compression.vocabulary_rows import VocabularyArgs, VocabularyRows, read_rows
from QEfficient.auto.encoder_road import EncoderRoad
from QEfficient.auto.processors import own_tokenizer
from QEfficient.cache import content_key
from QEfficient.compress.record import CompressionStep, add_step
from QEfficient.compress.vocabulary.check import check_written
from QEfficient.compress.vocabulary.choice import VocabularySize
from QEfficient.compress.vocabulary.counts import LostTokens
from QEfficient.compress.vocabulary.folder import TOKENIZER_BEFORE, write_folder
from QEfficient.compress.vocabulary.prune import (
    PrunedVocabulary,
    ReadsTexts,
    choose_vocabulary,
    pruned_module,
    sizes,
)
from QEfficient.compress.vocabulary.report import VocabularyReport, lost_as_fields
from QEfficient.compress.vocabulary.tables import narrowed
from QEfficient.errors import CompressionRefusedError, UsageError
from QEfficient.records import Json
from QEfficient.source.checkpoint import TRAINING_FILE, Checkpoint
from QEfficient.source.identity import is_native
from QEfficient.source.origin import Origin
from QEfficient.text.facts import tokenizer_files

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.auto.base import QEFFTransformersBase

log = logging.getLogger("QEfficient")

Model = TypeVar("Model", bound="QEFFTransformersBase")

_WARNED = 0.1  # of the held-out texts: more that lose a token are warned of
_HELD_OUT = 10  # one text of so many, where no others are given
_GENTLER = "pass more texts as data, a smaller min_count or a larger size; or keep the model as it is"


def prune_vocabulary(model: Model, args: VocabularyArgs) -> Model:
    """Chooses the tokens, writes the model with these, checks and measures it, and gives it as another object."""
    from QEfficient.train.folder import MODEL_FOLDER
    from QEfficient.train.save import keep_folder

    wanted, keep = VocabularySize(args.min_count, args.size), arguments.optional_strings("keep", args.keep)
    given = None if args.output_dir is None else arguments.folder("output_dir", args.output_dir)
    rows = read_rows(model._task, args)
    origin = model._need_origin("prune_vocabulary")
    _check_origin(model, origin)
    tokenizer = _tokenizer(origin, args.tokenizer)
    reads = ReadsTexts.of(tokenizer.backend_tokenizer.to_str(), model._text())
    try:
        module = _own_classes(origin.module())
        texts = rows.data.columns["text"]
        vocabulary = choose_vocabulary(reads, texts, keep, wanted, module)
        measured_on, lost = _lost(reads, rows, keep, wanted, module, vocabulary)
        _judge(lost, args.max_lost, origin.name)
        made: Any = narrowed(pruned_module(module, vocabulary), _stored_dtype(origin))
        report = _report(module, made, measured_on, lost)
        how: dict[str, Json] = {"min_count": wanted.min_count, "size": wanted.size, "keep": list(keep)}
        step = CompressionStep(
            "prune_vocabulary",
            how | {"max_lost": args.max_lost},
            report.to_dict(),
            rows_as_json("data", rows.data) | rows_as_json("eval", rows.held_out),
            max_drop=rows.guard.limits if rows.guard else {},
            told=f"vocabulary pruned to {report.share_of_table:.0%} of its tokens",
        )

        def write(folder: Path) -> None:
            before = _before(origin) or reads.content
            place = write_folder(folder, made, tokenizer, vocabulary.tokenizer(), before, origin.repo)
            if origin.training is not None:  # what it was trained on still holds
                (folder / TRAINING_FILE).write_text(json.dumps(dict(origin.training), indent=1), encoding="utf-8")
            written = _checkpoint(model, folder, origin.name)
            check_written(module, reads.content, vocabulary.new, written, texts)
            made_again = _object(model, written)
            drops = drops_between_models(model, made_again, rows.answered, args.score, torch=True)
            if rows.guard is not None:
                rows.guard.check(drops, f"Pruning the vocabulary of {origin.name!r}", _GENTLER)
            add_step(made.config, dataclasses.replace(step, drops=drops))
            made.config.save_pretrained(place)

        parent = given or settings.home() / "vocabulary" / content_key(step.to_dict())
        folder = keep_folder(write, parent / MODEL_FOLDER)
    finally:
        origin.release()
    log.info("%s, vocabulary pruned:\n%s", origin.name, report)
    return _object(model, _checkpoint(model, folder, f"{origin.name} (pruned vocabulary)"))


def lost_by(model: EncoderRoad, data: object) -> LostTokens:
    """What texts lose by the pruning that made the model."""
    from QEfficient.train.distill_texts import read_texts

    origin = model._need_origin("lost_tokens")
    before = _before(origin)
    if before is None:
        raise UsageError(
            "It is not known which tokens this model has lost.",
            got=f"no {TOKENIZER_BEFORE} in {origin.folder or origin.name}",
            allowed="a model that prune_vocabulary gave, or its folder",
            do="load that folder; a further training or save_pretrained does not keep the file",
        )
    names = own_tokenizer(origin, None).get_vocab()
    return ReadsTexts.of(before, model._text()).lost(read_texts(data).columns["text"], names.keys())


def _check_origin(model: EncoderRoad, origin: Origin) -> None:
    remote = isinstance(origin, Checkpoint) and origin.remote_code
    routed = origin.repo is not None and origin.repo.route is not None
    if model._quantized is not None or remote or routed:
        got = "a quantized model" if model._quantized is not None else "a Router" if routed else "remote code"
        raise UsageError(
            "The vocabulary of this model can't be pruned.",
            got=got,
            allowed="a model of transformers' own classes that is not quantized, and no repo with several routes",
            do="prune first and quantize then; of a repo with a Router load the encoder of one route by its folder",
        )


def _own_classes(module: nn.Module) -> nn.Module:
    if not is_native(module):
        raise UsageError(
            "The module has parts of classes that are not transformers' own: it could not be read back from a folder.",
            got=type(module).__name__,
            allowed="a model of transformers as its class makes it; an adapter of peft merged before",
            do="merge or unwrap it",
        )
    return module


def _tokenizer(origin: Origin, given: Any) -> Any:
    """HuggingFace's tokenizer. Of a folder without one transformers makes one that knows special tokens only."""
    if given is None and origin.folder is not None:
        files = {path.name for path in tokenizer_files(origin.folder)}
        if not files - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}:
            raise UsageError(
                "The model's folder has no tokenizer, and so no vocabulary that could be pruned.",
                got=str(origin.folder),
                allowed="a folder with tokenizer.json, or with what transformers makes one of",
                do="pass tokenizer=…, as AutoTokenizer.from_pretrained gives it",
            )
    return own_tokenizer(origin, given)


# ---------------------------------------------------------------------------------------------- what is lost


def _lost(
    reads: ReadsTexts,
    rows: VocabularyRows,
    keep: Sequence[str],
    wanted: VocabularySize,
    module: nn.Module,
    vocabulary: PrunedVocabulary,
) -> tuple[str, LostTokens | None]:
    """What held-out texts lose; without such texts it is estimated: each tenth text, by the tokens of the others."""
    if rows.held_out is not None:
        return "eval", reads.lost(rows.held_out.columns["text"], vocabulary.names)
    texts = rows.data.columns["text"]
    held = np.random.default_rng(0).permutation(len(texts))[: len(texts) // _HELD_OUT]
    if not held.size:
        return "", None
    away = set(held.tolist())
    others = [text for place, text in enumerate(texts) if place not in away]
    fewer = choose_vocabulary(reads, others, keep, wanted, module)
    return "a tenth of data", reads.lost([texts[place] for place in sorted(away)], fewer.names)


def _judge(lost: LostTokens | None, max_lost: float | None, name: str) -> None:
    """Refuses, or warns of, a vocabulary that lacks tokens of too many texts."""
    if lost is None:
        if max_lost is not None and max_lost < 1:
            raise UsageError(
                "There are no texts to tell by how many lose a token.",
                got=f"max_lost={max_lost} without eval, and fewer than {_HELD_OUT} texts as data",
                allowed="held-out texts",
                do="pass eval=…, or more texts",
            )
        return
    if max_lost is None and lost.share_of_texts > _WARNED:
        warnings.warn(
            f"The pruned vocabulary of {name!r} lacks tokens of many held-out texts: {lost}. These get other vectors "
            f"than before. To have it otherwise, {_GENTLER}; max_lost= refuses it.",
            stacklevel=4,
        )
    if max_lost is not None and lost.share_of_texts > max_lost:
        raise CompressionRefusedError(
            f"By the pruned vocabulary of {name!r} more texts lose a token than max_lost allows. Nothing is kept.",
            got=str(lost),
            allowed=f"a share of at most {max_lost:g}",
            do=_GENTLER,
        )


def _report(module: nn.Module, made: nn.Module, measured_on: str, lost: LostTokens | None) -> VocabularyReport:
    (tokens, size, parameters), after = sizes(module), sizes(made)
    return VocabularyReport(tokens, after[0], size, after[1], parameters, after[2], **lost_as_fields(measured_on, lost))


# ---------------------------------------------------------------------------------------------- the new object


def _checkpoint(model: EncoderRoad, folder: Path, name: str) -> Checkpoint:
    """The folder as a model that is loaded as the one before was, in the same precision."""
    found, before = dataclasses.replace(hub.resolve(folder), name=name), model._origin
    keywords: dict[str, Any] = {}
    if isinstance(before, Checkpoint):
        keywords = {word: before.keywords[word] for word in ("dtype",) if word in before.keywords}
    elif before is not None:
        held: Any = before.module()
        keywords = {"dtype": str(held.dtype).removeprefix("torch.")}
    origin = Checkpoint(found, model._task.auto_class, (), keywords)
    if isinstance(before, Checkpoint):
        origin.needs_pooler = before.needs_pooler
    return origin


def _object(model: Model, origin: Checkpoint) -> Model:
    made = type(model).__new__(type(model))
    made._begin(origin)
    made._head, made._max_seq_length = model._head, model._max_seq_length
    return made


def _stored_dtype(origin: Origin) -> str | None:
    """The precision that the files have weights in, where the model came from files."""
    if not isinstance(origin, Checkpoint) or "dtype" in origin.keywords:
        return None
    config = hub.read_object(origin.model_folder / "config.json")
    return str(config.get("dtype") or config.get("torch_dtype"))


def _before(origin: Origin) -> str | None:
    """The tokenizer before an earlier pruning of the same model, as JSON."""
    file = None if origin.folder is None else origin.folder / TOKENIZER_BEFORE
    return file.read_text(encoding="utf-8") if file is not None and file.is_file() else None
