"""``prune`` of every Auto class that is trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Self

from QEfficient.auto.tuning import FineTuning


class Pruning(FineTuning):
    """Takes away what matters least."""

    def prune(
        self,
        share: float | None = None,
        *,
        heads: bool = True,
        feed_forward: bool = True,
        layers: int | Sequence[int] | None = None,
        block: int = 32,
        data: object,
        eval: object = None,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        processor: Any = None,
        recover: bool | Mapping[str, Any] = False,
        max_drop: Mapping[str, float] | None = None,
        score: Callable[[Any], float] | None = None,
        seed: int = 0,
        output_dir: str | PathLike[str] | None = None,
    ) -> Self:
        """Takes away attention heads and feed-forward units, or layers, that matter least on rows like the user's.

        The matrices really become smaller, so the model is smaller and faster everywhere. How much a unit matters is
        measured on at most 1,024 rows of ``data``: what a row's loss would change by without it, to first order,
        squared (:mod:`QEfficient.compress.pruning.importance`). Rows without labels serve too: what counts then is how
        far the model's own answers move, and for an embedding model its vectors. Units go by importance a parameter
        over all layers together, so that layers end up with different widths. transformers itself does not read such
        a model; ``from_pretrained`` of this library does.

        What is lost comes back in a short training, in which the model learns from the one that it was pruned from,
        and from the labels, if there are any: ``recover``.

        The pruned model is written as a repo into ``output_dir/model``, from where the new object reads it: keep the
        folder. This object and its program stay as they are. :attr:`compressed`, and ``device_report()`` once it is
        compiled, tell what was done and measured.

        Args:
            share: Of the *encoder's* parameters, those of its layers, that are to go, from 0 to 1: 0.3 takes 30 %.
                Word tables and heads of tasks do not count; the record says the share of the whole model too.
            heads: Whether attention heads may go; one of each layer stays. With heads of keys that are shared, all
                queries go with theirs.
            feed_forward: Whether feed-forward units may go; ``block`` of each layer stay.
            layers: In place of ``share``: how many layers to keep, those that matter most, or which ones, counted
                from 0. For which ones nothing is measured of ``data``.
            block: Feed-forward units that go together, so that widths stay multiples of it.
            data: Rows like those that the model is for: as :meth:`fine_tune` takes them. Of an embedding model a column
                of texts is enough, and of one that gives labels to texts or tokens a list of strings.
            eval: Held-out rows with answers: the metrics of ``evaluate`` are measured on them before and after.
            task: What the rows are for; left out, the model's class and their columns tell it. Of an embedding model
                it says what ``eval`` is for.
            columns: Role → name of its column, where it is none that people use.
            tokenizer: HuggingFace's, of a model of texts that was handed in as a module.
            processor: Likewise of images or clips.
            recover: ``True``, or how, as :class:`QEfficient.train.distill_request.DistillRequest` lists it:
                ``{"max_steps": 300, "learning_rate": 1e-4}``. It is for models that ``distill`` is for; others can be
                trained with :meth:`fine_tune` afterwards. A Ctrl-C keeps the last checkpoint; the same call with
                ``{…, "resume": True}`` goes on from it.
            max_drop: How much each metric may get worse: ``{"accuracy": 0.01}``; ``{"score": …}`` for that of
                ``score``.
            score: In place of the metrics: asked about HuggingFace's module, or a ``SentenceTransformer``; a number of
                which more is better.
            seed: Of which rows are asked, and of the order in which it recovers.
            output_dir: The folder; ``None``: below ``QEFF_HOME``.

        Returns:
            The pruned model, not compiled yet.

        Raises:
            CompressionRefusedError: A metric gets worse by more than ``max_drop`` allows. Nothing is kept.
            MissingExtraError: The extra ``train`` is not installed.
            OptionError: A share that can't be pruned, a limit for what is not measured, or there are no such layers.
            InputError: There are no rows, or they don't fit.
            NumericsError: NaN or Inf in the rows' losses or their gradients; names the layer and the batch.
            UsageError: Not one of ``share`` and ``layers``; a saved program or a quantized model; a model that can't be
                cut or, with ``recover``, distilled.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        from QEfficient.auto.compression.pruning import PruneArgs, prune

        return prune(self, PruneArgs(held_out=given.pop("eval"), **given))  # type: ignore[type-var]

    def mask(
        self,
        pattern: str | None = None,
        *,
        share: float | None = None,
        eval: object = None,
        task: str | None = None,
        columns: Mapping[str, str | Sequence[str] | None] | None = None,
        tokenizer: Any = None,
        processor: Any = None,
        max_drop: Mapping[str, float] | None = None,
        score: Callable[[Any], float] | None = None,
        output_dir: str | PathLike[str] | None = None,
    ) -> Self:
        """Sets the encoder's smallest weights to zero: unstructured pruning, or N of M.

        Matrices keep their shapes, and no runtime here makes use of zeros: this gains **no speed and no bytes**. It is
        for those who want to know what such a model would answer; :meth:`prune` makes matrices smaller. A training
        afterwards fills the zeros again.

        What is written, measured, guarded and recorded is as in :meth:`prune`. The folder is an ordinary one of
        transformers.

        Args:
            pattern: ``"2:4"`` keeps the 2 largest of each 4 inputs in a row of an output; any other N:M likewise.
            share: In its place: the share of each matrix's weights, the smallest ones, above 0 and below 1.
            eval: As in :meth:`prune`, as all that follow.
            task: Likewise.
            columns: Likewise.
            tokenizer: Likewise.
            processor: Likewise.
            max_drop: Likewise.
            score: Likewise.
            output_dir: Likewise.

        Returns:
            The model with zeros, not compiled yet.

        Raises:
            CompressionRefusedError: A metric gets worse by more than ``max_drop`` allows. Nothing is kept.
            MissingExtraError: The extra ``train`` is not installed.
            OptionError: A pattern or share that is none, or a limit for what is not measured.
            UsageError: Not one of ``pattern`` and ``share``; a saved program, a quantized model, or one without
                matrices.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        from QEfficient.auto.compression.masking import MaskArgs, mask

        return mask(self, MaskArgs(held_out=given.pop("eval"), **given))  # type: ignore[type-var]
