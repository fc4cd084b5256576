"""How important the units of a model are on a task's rows: what ``compress`` measures, with the losses of this room.

Where rows have labels, their loss is that of a training. Where they have none, what counts is the model's own answer,
and a unit matters by how far its removal moves it: the loss is that of labels which are drawn from the model's own
probabilities, and of vectors a product with a random direction. Its squared derivative is on average the Fisher
information, of vectors the squared length by which they move, whatever direction that is; the sum over many rows is
near its average. The distance of the vector from itself would have no derivative, and losses of similarities within a
batch look at some directions only: with a fifth of MiniLM's encoder gone its vectors had a mean cosine of 0.923 to
those before by random directions, 0.911 by random combinations of the similarities of a batch, 0.877 by a contrastive
loss or by the squared length of the vectors, 0.811 by a contrastive loss against themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from QEfficient.compress.pruning.groups import UnitGroup
from QEfficient.compress.pruning.importance import Batch, Importance, Loss, measure_importance
from QEfficient.errors import InputError, UsageError, unknown
from QEfficient.evaluate.data.split import subset
from QEfficient.evaluate.record import Examples
from QEfficient.train.distill_texts import TASK, pairs_of
from QEfficient.train.features import HeadReader
from QEfficient.train.heads import TASKS, check_outputs
from QEfficient.train.labelled import Feature
from QEfficient.train.labels import Labels
from QEfficient.train.losses import head_loss
from QEfficient.train.material import SIGNAL_TASKS, of_signals, of_texts
from QEfficient.train.rows import check_tokens, row_limit
from QEfficient.train.run import own_seeds
from QEfficient.train.sentence_model import SentenceHead, sentence_transformer
from QEfficient.train.teacher import ModelWithTokenizer

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 1024
"""So many rows are asked at most, drawn by the seed: more change little of what is chosen."""

_BATCH = 32
_WITHOUT_LABELS = (TASK, "reranking")
_NAMED = ("text-classification", "multi-label", "token-classification", "image-classification", "audio-classification")
"""Tasks whose labels have names in the model's config."""


def head_importance(
    model: ModelWithTokenizer, groups: Sequence[UnitGroup], rows: Examples, seed: int = 0
) -> Importance:
    """The importance of a model with a head, by the loss of its task.

    Args:
        model: Any module that :func:`~QEfficient.train.heads.fine_tune_head` trains, with what reads its inputs: of
            images or clips its processor. It stays as it is.
        groups: Of its units.
        rows: Of one of the tasks of that function; or texts, or queries with documents, of which labels do not count.
        seed: Of which rows are asked, and of labels and masks that are drawn.

    Returns:
        As :func:`~QEfficient.compress.pruning.importance.measure_importance` gives it.

    Raises:
        InputError: There are no rows, a label is none of the model's, or scores meet a model with several outputs.
        UsageError: The rows are for another task.
        NumericsError: As there.
    """
    if rows.task not in (*TASKS, *_WITHOUT_LABELS):
        known = (*TASKS, *_WITHOUT_LABELS)
        raise unknown(UsageError, f"Nothing is pruned for {rows.task!r}.", rows.task, known, argument="task")
    some = _drawn(pairs_of(rows) if rows.task == "reranking" else rows, seed)
    with own_seeds(seed):
        batches, loss = (_unlabelled if some.task == TASK else _labelled)(model, some, seed)
        return measure_importance(model.module, groups, batches, loss)


def vector_importance(
    model: ModelWithTokenizer, head: SentenceHead, groups: Sequence[UnitGroup], texts: Examples, seed: int = 0
) -> Importance:
    """The importance of an embedding model: how far the vectors of texts move without a unit.

    Lengths of vectors count where the model compares them by more than their cosine.

    Args:
        model: An encoder of transformers with its tokenizer. It stays as it is.
        head: What stands behind it.
        groups: Of its units.
        texts: Rows with a column ``text``.
        seed: Of which texts are asked, and of the directions.

    Returns:
        As :func:`head_importance`.

    Raises:
        InputError: There are no texts.
        PoolingError: There is no pooling, or one that sentence-transformers has not.
        NumericsError: As there.
    """
    import torch
    from torch.nn import functional

    wrapper = sentence_transformer(model.module, model.tokenizer, head).eval()
    prompt = wrapper.prompts.get(wrapper.default_prompt_name)
    asked = sorted(_drawn(texts, seed).columns["text"], key=len)
    random = torch.Generator().manual_seed(seed)
    cosine = head.text is None or head.text.similarity == "cosine"

    def batches() -> Iterator[Batch]:
        for start in range(0, len(asked), _BATCH):
            yield wrapper.preprocess(asked[start : start + _BATCH], prompt=prompt)

    def moved(_: Any, batch: Batch) -> Tensor:
        vectors: Tensor = wrapper(dict(batch))["sentence_embedding"]
        vectors = functional.normalize(vectors, dim=-1) if cosine else vectors
        return (vectors * torch.randn(vectors.shape, generator=random)).sum()

    return measure_importance(model.module, groups, batches(), moved)


def _drawn(rows: Examples, seed: int) -> Examples:
    import numpy as np

    if not len(rows):
        raise InputError("There are no rows to measure importance on.", got="0 rows", allowed="rows", do="pass some")
    return subset(rows, np.sort(np.random.default_rng(seed).permutation(len(rows))[:ROWS]))


def _labelled(model: ModelWithTokenizer, rows: Examples, seed: int) -> tuple[Iterator[Batch], Loss]:
    check_outputs(model.module, rows.task)
    config: Any = model.module.config
    labels = Labels(_names(config)) if rows.task in _NAMED else None
    if rows.task in SIGNAL_TASKS:
        material = of_signals(model.module, model.tokenizer, rows, None, labels)
    else:
        material = of_texts(_reader(model, labels), rows, None, seed, getattr(config, "vocab_size", None))
    by_task = head_loss(rows.task, blank=int(getattr(config, "pad_token_id", None) or 0))

    def loss(module: Any, batch: Batch) -> Tensor:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        return by_task(module(**inputs), batch["labels"], 1)  # not divided: each row counts alike

    return _batches(material.rows, material.lengths, material.collate), loss


def _unlabelled(model: ModelWithTokenizer, rows: Examples, seed: int) -> tuple[Iterator[Batch], Loss]:
    """Texts with the answers that the model itself gives to them, drawn by their probabilities."""
    import torch
    from torch.nn import functional

    reader = _reader(model, None)
    features = reader.texts(rows.columns)
    config: Any = model.module.config
    check_tokens((row["input_ids"] for row in features), int(config.vocab_size), "given")
    random = torch.Generator().manual_seed(seed)

    def collate(some: Sequence[Feature]) -> Feature:
        return dict(model.tokenizer.pad(some, padding_side="right", return_tensors="pt"))

    def loss(module: Any, batch: Batch) -> Tensor:
        logits = module(**batch).logits
        if logits.dim() > 2:  # one a token, of which padding is none
            logits = logits[batch["attention_mask"].bool()]
        if config.num_labels == 1:
            return logits.sum()  # type: ignore[no-any-return]
        if getattr(config, "problem_type", None) == "multi_label_classification":
            drawn = torch.bernoulli(logits.detach().sigmoid(), generator=random)
            return functional.binary_cross_entropy_with_logits(logits, drawn, reduction="sum")
        drawn = torch.multinomial(logits.detach().softmax(dim=-1), 1, generator=random)[:, 0]
        return functional.cross_entropy(logits, drawn, reduction="sum")

    return _batches(features, [len(row["input_ids"]) for row in features], collate), loss


def _names(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[number]) for number in range(config.num_labels))


def _reader(model: ModelWithTokenizer, labels: Labels | None) -> HeadReader:
    limit = row_limit(model.module, model.tokenizer, model.text, None)
    return HeadReader(model.tokenizer, limit, labels, bool(model.text and model.text.lower_case))


def _batches(
    rows: Sequence[Feature], lengths: Sequence[int], collate: Callable[[Sequence[Feature]], Mapping[str, Any]]
) -> Iterator[Batch]:
    """Rows of about the same length together."""
    order = sorted(range(len(rows)), key=lambda row: lengths[row])
    for start in range(0, len(order), _BATCH):
        yield collate([rows[row] for row in order[start : start + _BATCH]])
