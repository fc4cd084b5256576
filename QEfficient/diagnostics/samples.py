"""What verify and the doctor run: random rows, the built-in texts and the caller's, as a subject can take them."""

from __future__ import annotations

from collections.abc import Sequence

from QEfficient.build.subject import Subject
from QEfficient.numerics.probes import RowSpace
from QEfficient.numerics.samples import LONGEST, all_samples, refuse_texts
from QEfficient.numerics.verify import Sample
from QEfficient.onnx_transforms import tables
from QEfficient.records import OnnxModel


def samples_of(subject: Subject, model: OnnxModel, texts: Sequence[str], longest: int | None) -> list[Sample]:
    """Samples for a graph.

    Args:
        subject: Whose graph it is.
        model: The graph.
        texts: The caller's.
        longest: Tokens, or samples, of the longest row; ``None``: as many as the model takes.

    Raises:
        UsageError: Texts for a model without a tokenizer.
        InputError: A text has a token that the model has no row for.
    """
    tokenizer, limit = subject.tokenizer(), LONGEST
    if tokenizer is None or subject.text is None:
        refuse_texts(texts, subject.name)
        tokenizer = None
    else:
        limit = subject.text.max_length
    space = RowSpace(subject.config(), model.inputs, subject.rules(model.inputs), tables(model.path), subject.pools_end)
    return all_samples(space, tokenizer, texts, longest=longest, limit=limit)
