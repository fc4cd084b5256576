"""Modules that sentence-transformers ships and that have no place in a graph of ours: why, and what to do instead."""

from __future__ import annotations

from QEfficient.errors import PoolingError, nearest
from QEfficient.sentence_repo.files import Module

KINDS = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout", "WeightedLayerPooling", "Router")
"""The modules that are built."""

_NO_ENCODER = "it looks its vectors up in a table, so there is no encoder to compile"
_WORDS = "it stands behind WordEmbeddings, which is no encoder"
_SPARSE = "its vectors are sparse, as long as the vocabulary"
_MANY = "it makes several vectors of a text, which are compared by MaxSim"
_TABLE = "run it with sentence-transformers: it takes microseconds on a CPU"
_PER_TOKEN = "pooling=None gives the encoder's token vectors; apply the module to them outside"

# Class name → (why it is not built, what to do).
_REASONS = {
    "BoW": ("it counts words, so there is no encoder to compile", _TABLE),
    "WordEmbeddings": (_NO_ENCODER, _TABLE),
    "StaticEmbedding": (_NO_ENCODER, _TABLE),
    "SparseStaticEmbedding": (_NO_ENCODER, _TABLE),
    "WordWeights": (f"{_WORDS}; it weights each token by its id", _PER_TOKEN),
    "LSTM": (f"{_WORDS}; it needs each row's length, which a Transformer does not pass on", _PER_TOKEN),
    "CNN": (f"{_WORDS}; its windows reach into the padding, so that a vector depends on its neighbours", _PER_TOKEN),
    "CLIPModel": (
        "it encodes images beside texts, each by a method of its own",
        "pooling=None gives the HuggingFace model's own text and image vectors",
    ),
    "MLMTransformer": (_SPARSE, 'pooling=None, or a mode such as pooling="mean", gives the encoder\'s own vectors'),
    "SpladePooling": (_SPARSE, 'pooling=None, or a mode such as pooling="mean", gives the encoder\'s own vectors'),
    "SparseAutoEncoder": (_SPARSE, "apply it outside, to the vectors that the modules before it give"),
    "MultiVectorMask": (_MANY, _PER_TOKEN),
    "HierarchicalTokenPooling": (_MANY, _PER_TOKEN),
    "LambdaTokenPooling": (_MANY, _PER_TOKEN),
    "LogitScore": ("it belongs to a cross-encoder that reads its score off a language model's logits", _PER_TOKEN),
}


def refusal(module: Module) -> PoolingError:
    """The error for a module that is not built."""
    known = _REASONS.get(module.kind)
    reason = f": {known[0]}" if known else f".{nearest(module.kind, KINDS)}"
    return PoolingError(
        f"The repo has a module that is not supported, {module.kind}{reason}",
        got=f"{module.type} in {module.folder.name}",
        allowed=f"sentence-transformers' own {', '.join(KINDS)}",
        do=known[1]
        if known
        else 'choose a pooling by name, such as pooling="mean", if the repo\'s own vectors are not needed',
    )
