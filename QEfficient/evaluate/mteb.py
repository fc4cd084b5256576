"""Compiled models as MTEB's encoders and cross-encoders: its protocols on one side, ``encode`` and ``predict`` on ours.

The protocols are those of mteb 2 (``mteb/models/models_protocols.py``); prompts are chosen as its own wrappers of
sentence-transformers choose them. mteb itself is imported only for the metadata that it asks for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from QEfficient import program as programs
from QEfficient.arguments import each, strings
from QEfficient.cache import MANIFEST
from QEfficient.errors import InputError, MissingExtraError

Batches = Iterable[Mapping[str, Sequence[Any]]]  # what mteb's data loader yields: column → values


class Encoder(Protocol):
    """What an MTEB encoder is made of; ``QEFFAutoModel`` has it."""

    @property
    def prompts(self) -> Mapping[str, str | None]:
        """Prompt name → text."""

    def encode(self, texts: Sequence[str], /, *, prompt: str | None = None, **kwargs: Any) -> Any:
        """Strings → ``(texts, dim)``."""

    def encode_query(self, texts: Sequence[str], /, *, prompt: str | None = None, **kwargs: Any) -> Any:
        """Queries → ``(texts, dim)``."""

    def encode_document(self, texts: Sequence[str], /, *, prompt: str | None = None, **kwargs: Any) -> Any:
        """Documents → ``(texts, dim)``."""

    def similarity(self, first: Any, second: Any, /) -> Any:
        """Every vector with every other, ``(n, m)``."""

    def similarity_pairwise(self, first: Any, second: Any, /) -> Any:
        """Vectors at equal positions, ``(n,)``."""


class Reranker(Protocol):
    """What an MTEB cross-encoder is made of; ``QEFFAutoModelForSequenceClassification`` has it."""

    def predict(self, pairs: Sequence[tuple[str, str]], /, **kwargs: Any) -> Any:
        """Pairs → ``(pairs,)``."""


class _Named:
    """The metadata by which mteb names and stores results.

    Args:
        model: A compiled model.
        name: ``"owner/name"`` for mteb's tables; left out, the name by which the model was loaded.
        revision: Left out, the digest of the program's manifest, so that the results that mteb keeps for one program
            are never given for another.
    """

    _type = "dense"

    def __init__(self, model: Any, name: str | None = None, revision: str | None = None) -> None:
        self.model = model
        self._name, self._revision = name, revision

    @cached_property
    def mteb_model_meta(self) -> Any:
        """Mteb's ``ModelMeta``: name, revision, limit and width; nothing that the program does not know.

        Raises:
            MissingExtraError: mteb is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ModuleNotFoundError as error:
            if error.name != "mteb":
                raise
            raise MissingExtraError(
                "MTEB is not installed.",
                got="no package mteb",
                allowed="mteb 2",
                do='pip install "QEfficient[evaluate]"',
            ) from error
        name, revision = self._name, self._revision
        folder = getattr(self.model, "program_path", None)
        if folder is not None and name is None:
            facts = programs.load(Path(folder)).manifest.model
            name = f"QEfficient/{Path(facts.name).name}" if facts else None
        if folder is not None and revision is None:
            revision = hashlib.sha256((Path(folder) / MANIFEST).read_bytes()).hexdigest()[:12]
        known = {
            "name": name,
            "revision": revision,
            "max_tokens": getattr(self.model, "max_seq_length", None),
            "embed_dim": getattr(self.model, "get_embedding_dimension", lambda: None)(),
            "model_type": [self._type],
        }
        return ModelMeta.create_empty(overwrites={key: value for key, value in known.items() if value is not None})


class MTEBEncoder(_Named):
    """A compiled encoder as mteb's ``EncoderProtocol``: ``mteb.evaluate(MTEBEncoder(model), tasks)``.

    Args:
        model: A compiled ``QEFFAutoModel``, or whatever else has its ``encode``, ``prompts`` and ``similarity``.
        name: ``"owner/name"`` for mteb's tables; left out, the name by which the model was loaded.
        revision: Left out, the digest of the program's manifest.
        prompts: mteb's task name, task type or ``"query"`` / ``"document"`` → text; left out, the model's own prompts.
    """

    model: Encoder

    def __init__(
        self,
        model: Encoder,
        name: str | None = None,
        revision: str | None = None,
        *,
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(model, name, revision)
        self._prompts = prompts

    def encode(
        self,
        inputs: Batches,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Vectors of a data loader's texts.

        Args:
            inputs: Batches with a column ``text``.
            task_metadata: The task's; its name and type choose the prompt.
            hf_split: Not used: a text's vector does not depend on the data set.
            hf_subset: Likewise.
            prompt_type: mteb's ``PromptType``: query, document or ``None``.
            **kwargs: Keywords of the model's ``encode``.

        Returns:
            Shape ``(texts, dim)``.
        """
        kind = None if prompt_type is None else prompt_type.value
        prompts = self.model.prompts if self._prompts is None else self._prompts
        prompt = next((prompts[key] for key in _prompt_names(task_metadata, kind) if key in prompts), None)
        encode = {None: self.model.encode, "query": self.model.encode_query, "document": self.model.encode_document}
        return np.asarray(encode[kind](_column(inputs), prompt=prompt, **kwargs))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The model's own similarity of every vector with every other, ``(n, m)``."""
        return self.model.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The model's own similarity of the vectors at equal positions, ``(n,)``."""
        return self.model.similarity_pairwise(embeddings1, embeddings2)


class MTEBCrossEncoder(_Named):
    """A compiled reranker as mteb's ``CrossEncoderProtocol``.

    Args:
        model: A compiled ``QEFFAutoModelForSequenceClassification``, or whatever else has its ``predict``.
        name: ``"owner/name"`` for mteb's tables; left out, the name by which the model was loaded.
        revision: Left out, the digest of the program's manifest.
    """

    model: Reranker
    _type = "cross-encoder"

    def predict(
        self,
        inputs1: Batches,
        inputs2: Batches,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """Scores of two data loaders' texts, row by row.

        Args:
            inputs1: Batches with a column ``text``: the queries.
            inputs2: Batches with a column ``text``: as many documents.
            task_metadata: Not used: a pair's score does not depend on the task.
            hf_split: Likewise.
            hf_subset: Likewise.
            prompt_type: Likewise.
            **kwargs: Keywords of the model's ``predict``.

        Returns:
            Shape ``(pairs,)``.
        """
        pairs = list(zip(_column(inputs1), _column(inputs2), strict=True))
        return np.asarray(self.model.predict(pairs, **kwargs))


def _prompt_names(task: Any, kind: str | None) -> list[str]:
    """The names under which a prompt is looked up, the first that is there wins: mteb's own order."""
    both = [task.name, task.type]
    return [key for name in both for key in ([f"{name}-{kind}", name] if kind else [name])] + ([kind] if kind else [])


def _column(batches: Batches) -> list[str]:
    """The texts of all batches.

    Raises:
        InputError: A batch has no texts, but images or sounds.
    """
    texts: list[str] = []
    for batch in each("inputs", batches, "batches"):
        if "text" not in batch:
            raise InputError(
                "The task's rows hold no text.",
                got=", ".join(batch),
                allowed="tasks with the modality text",
                do="choose text tasks: mteb.get_tasks(modalities=['text'], exclusive_modality_filter=True)",
            )
        texts.extend(strings("the column text", batch["text"]))
    return texts
