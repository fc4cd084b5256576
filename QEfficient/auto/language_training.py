"""Fine-tuning of an Auto object that writes text: rows → the room ``train`` → the object with its new weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from QEfficient.auto.decoder_road import DecoderRoad
from QEfficient.auto.processors import own_tokenizer
from QEfficient.auto.seq2seq_road import Seq2SeqRoad
from QEfficient.auto.training import Columns, check_score, own_module, written
from QEfficient.evaluate.record import Examples
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.train.alone import one_at_a_time

if TYPE_CHECKING:
    from QEfficient.train.record import Trained
    from QEfficient.train.run import Score


@one_at_a_time()
def fine_tune_language(
    model: DecoderRoad,
    rows: tuple[object, object],
    columns: Columns | None,
    tokenizer: Any,
    score: Score | None,
    keywords: Mapping[str, Any],
) -> Trained:
    """Trains a copy of the model and puts it in place; the program that was compiled before is retired.

    Args:
        model: An Auto object: of a model that writes on, or of one that reads a source and writes a target.
        rows: Those to train on, and those held out or ``None``.
        columns: Role → column, for those who call it otherwise.
        tokenizer: HuggingFace's, of a model in memory; ``None`` for its own.
        score: As the room ``train`` takes it.
        keywords: How to train.
    """
    from QEfficient.train.language import fine_tune_causal, fine_tune_seq2seq
    from QEfficient.train.language_rows import CAUSAL, SEQ2SEQ, read_language_rows
    from QEfficient.train.request import parse_request

    reads = isinstance(model, Seq2SeqRoad)
    task, fine_tune = (SEQ2SEQ, fine_tune_seq2seq) if reads else (CAUSAL, fine_tune_causal)

    def read(data: object) -> Examples:
        return data if isinstance(data, Examples) else read_language_rows(data, task, columns)

    check_score(score)
    request = parse_request(keywords)
    origin = model._need_origin("fine_tune")
    reader = own_tokenizer(origin, tokenizer, slow=reads)
    train, held_out = read(rows[0]), None if rows[1] is None else read(rows[1])
    trained = fine_tune(own_module(origin), reader, train, held_out, request, score=score)
    trained = dataclasses.replace(trained, name=origin.name)
    remote_code = isinstance(origin, Checkpoint) and origin.remote_code
    found = written(trained, model._task.auto_class, f"{origin.name} (fine-tuned)", remote_code)
    with model._lock:
        model._become(found)
    return trained
