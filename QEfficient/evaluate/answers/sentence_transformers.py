"""Models of sentence-transformers beside ours: the same call evaluates them, with what they say themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from QEfficient.errors import UsageError
from QEfficient.evaluate.answers.runner import Floats, TextModel
from QEfficient.text.tokenizer import Text

ROWS = 32  # sentence-transformers' own default


def wrapped(model: object) -> TextModel | None:
    """The model as a :class:`TextModel`; ``None`` for what sentence-transformers did not make.

    Found by name, so that nobody needs the package who has no such model.
    """
    names = {kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("sentence_transformers.")}
    if "CrossEncoder" in names:
        return _CrossEncoder(model)
    return _SentenceTransformer(model) if "SentenceTransformer" in names else None


class _SentenceTransformer:
    ran = "sentence-transformers"
    task = "feature-extraction"
    labels: tuple[str, ...] = ()
    gives_vectors = True

    def __init__(self, model: Any) -> None:
        inner = getattr(model[0], "model", None)  # transformers' own model, in a Transformer module
        self.name = str(getattr(inner, "name_or_path", "") or type(model).__name__)
        self._model = model

    def outputs(self, texts: Sequence[Text], prompt_name: str | None = None) -> Floats:
        call = {"query": self._model.encode_query, "document": self._model.encode_document}
        encode = call.get(prompt_name or "", self._model.encode)
        return np.asarray(encode(list(texts), batch_size=ROWS, show_progress_bar=False), np.float32)

    def similarity(self, first: Floats, second: Floats, *, pairwise: bool) -> Floats:
        call = self._model.similarity_pairwise if pairwise else self._model.similarity
        return np.asarray(call(first, second), np.float32)


class _CrossEncoder:
    ran = "sentence-transformers"
    task = "text-classification"
    gives_vectors = False

    def __init__(self, model: Any) -> None:
        config = model.config
        self.name = str(config.name_or_path or type(model).__name__)
        self.labels = tuple(str(config.id2label[i]) for i in range(config.num_labels))
        self._model = model

    def outputs(self, texts: Sequence[Text], prompt_name: str | None = None) -> Floats:
        from torch import nn

        if any(isinstance(text, str) for text in texts):
            raise UsageError(
                "A CrossEncoder scores pairs, and these rows are single texts.",
                got=self.name,
                allowed="rows with a text and a pair",
                do="load the model with QEFFAutoModelForSequenceClassification, which takes single texts too",
            )
        keywords = {"batch_size": ROWS, "show_progress_bar": False, "activation_fn": nn.Identity()}
        scores = np.asarray(self._model.predict(list(texts), prompt_name=prompt_name, **keywords), np.float32)
        return scores[:, None] if scores.ndim == 1 else scores
