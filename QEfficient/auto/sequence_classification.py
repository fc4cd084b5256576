"""``QEFFAutoModelForSequenceClassification``: text classification, sentiment, regression and rerankers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from QEfficient.auto.head_distilling import HeadDistilling
from QEfficient.inference import rerank
from QEfficient.sentence_repo import check_reranker
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.tasks.catalogue import TEXT_CLASSIFICATION

Pair = tuple[str, str] | list[str]


class QEFFAutoModelForSequenceClassification(HeadDistilling):
    """Texts, or pairs of texts → one row of scores.

    ``generate`` gives ``{"logits": (rows, labels)}`` without an activation, as HuggingFace does. ``predict`` and
    ``rank`` take strings and give what ``sentence_transformers.CrossEncoder`` gives. Labels and the problem type stand
    in ``config``, also of a saved program.

    Args:
        model: A HuggingFace model of this task that is already loaded.
    """

    _task = TEXT_CLASSIFICATION

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Resolves a model or a saved program by hub id or path. The weights are read when first needed.

        Args:
            pretrained_model_name_or_path: A hub id, a local folder, or the folder of a saved program; also of a
                CrossEncoder that sentence-transformers saved.
            *args: As ``transformers.AutoModelForSequenceClassification.from_pretrained`` takes them.
            **kwargs: Likewise (``revision``, ``token``, ``cache_dir``, ``trust_remote_code``, ``dtype``,
                ``local_files_only``, …). A saved program takes ``backend`` (run its graph there), ``strict``
                (exactly the compiled shapes) and ``check`` (compare every file's digest; sizes always are) instead.

        Raises:
            LoadError: No such model, or it can't be read, or it is a generative reranker.
            UsageError: A saved program of another task.
        """
        self = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if isinstance(self._origin, Checkpoint):
            check_reranker(self._origin.model_folder, self._origin.repo, adapted=self._origin.adapter is not None)
        return self

    def predict(
        self,
        inputs: str | Pair | Iterable[Pair],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[[Any], Any] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: object = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        max_length: int | None = None,
        overlong: Literal["truncate", "error"] = "truncate",
        device_ids: Sequence[int] | None = None,
    ) -> Any:
        """Pairs of strings → scores, with the keywords and results of ``CrossEncoder.predict``.

        Args:
            inputs: Pairs, or one pair; one string is scored by itself. Position counts, in a list of pairs and in a
                pair, whatever labels a container carries; sets, mappings and tables are refused.
            prompt_name: Name of a prompt of the repo to put before the first text of each pair.
            prompt: A prompt to put there; goes before ``prompt_name``.
            batch_size: Accepted for sentence-transformers' callers; the planner packs rows by length instead.
            show_progress_bar: ``None`` shows one on long work in a terminal or notebook.
            activation_fn: What makes scores of the float32 logits ``(pairs, labels)``: a function of a torch tensor,
                or a name such as ``"sigmoid"`` or ``"identity"``. Left out: the model's own, else sigmoid with one
                label, else none.
            apply_softmax: Scale the scores of each pair to the sum 1; with two labels or more.
            convert_to_numpy: False gives a list of tensors.
            convert_to_tensor: One torch tensor instead of an array.
            device: Accepted when it is the CPU; programs run where they were compiled for.
            pool: Only ``None``: there are no worker processes, since a program uses all CPUs, or devices, by itself.
            chunk_size: Accepted for sentence-transformers' callers, who size a pool's work with it.
            max_length: Shorten pairs to this many tokens, special tokens included; ``max_seq_length`` when left out.
            overlong: What to do with longer pairs: ``"truncate"`` shortens them with one warning, the longer text
                first; ``"error"`` refuses them.
            device_ids: Devices of the card.

        Returns:
            Float32, ``(pairs,)`` with one label, else ``(pairs, labels)``; without the first dim for one pair.

        Raises:
            InputError: Not pairs of strings, or one that fits no compiled bucket.
            UsageError: Not compiled, or an activation or a prompt that is not known.
        """
        self._accept(device, batch_size, pool, chunk_size)
        loaded = self._need_loaded()
        args = rerank.PredictArgs.of(locals())
        return rerank.predict(loaded, loaded.limited(self._max_seq_length), inputs, args)

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | Callable[[Any], Any] | None = None,
        device: object = None,
        pool: None = None,
        chunk_size: int | None = None,
        *,
        max_length: int | None = None,
        overlong: Literal["truncate", "error"] = "truncate",
        device_ids: Sequence[int] | None = None,
    ) -> list[dict[str, Any]]:
        """Documents by their relevance to a query, with the keywords and results of ``CrossEncoder.rank``.

        Args:
            query: What was asked.
            documents: The texts to sort: a list, an array, a column of a table, a generator.
            top_k: Give only so many.
            return_documents: Give the texts too.
            prompt_name: As in :meth:`predict`, as all that follow.
            prompt: Likewise.
            batch_size: Likewise.
            show_progress_bar: Likewise.
            activation_fn: Likewise.
            device: Likewise.
            pool: Likewise.
            chunk_size: Likewise.
            max_length: Likewise.
            overlong: Likewise.
            device_ids: Likewise.

        Returns:
            ``{"corpus_id": position in documents, "score": float}`` each, with ``"text"`` when asked for; the highest
            score first, and documents of equal score in the caller's order.

        Raises:
            InputError: Not strings, or a pair that fits no compiled bucket.
            UsageError: Not compiled, a model with several labels, or an activation or a prompt that is not known.
        """
        self._accept(device, batch_size, pool, chunk_size)
        loaded = self._need_loaded()
        args = rerank.PredictArgs.of(locals())
        facts = loaded.limited(self._max_seq_length)
        return rerank.rank(loaded, facts, query, documents, args, top_k=top_k, return_documents=return_documents)
