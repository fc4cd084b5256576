"""Pairs of texts → scores, as sentence-transformers' CrossEncoder gives them: functions over a loaded program."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import InputError, UsageError, nearest
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.inference.prompts import find_prompt
from QEfficient.inference.similarity import tensor
from QEfficient.inference.texts import Reading, outputs
from QEfficient.progress import progress
from QEfficient.records import TextFacts
from QEfficient.text.tokenizer import Text

PAIRS = "pairs of strings"
Scores = NDArray[np.float32]
Activation = str | Callable[[Any], Any]


class PredictArgs(NamedTuple):
    """The keywords of one ``predict`` or ``rank`` call; the methods' docstrings explain them."""

    prompt: str | None = None
    prompt_name: str | None = None
    show_progress_bar: bool | None = None
    activation_fn: Activation | None = None
    apply_softmax: bool | None = False
    convert_to_numpy: bool = True
    convert_to_tensor: bool = False
    max_length: int | None = None
    overlong: Literal["truncate", "error"] = "truncate"
    device_ids: Sequence[int] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Those that a method which has them was given: its ``locals()``."""
        return cls(**{name: given[name] for name in cls._fields if name in given})


def predict(loaded: LoadedProgram, facts: TextFacts, inputs: object, args: PredictArgs) -> Any:
    """One or many pairs → scores in the container that the arguments name; one label: one number a pair."""
    texts, single = _texts(inputs)
    scores = _scores(loaded, facts, texts, args)
    if args.convert_to_tensor or not args.convert_to_numpy:
        whole = tensor(scores)
        if single:
            return whole[0]
        return whole if args.convert_to_tensor else list(whole)
    return scores[0] if single else scores


def rank(
    loaded: LoadedProgram,
    facts: TextFacts,
    query: str,
    documents: object,
    args: PredictArgs,
    *,
    top_k: int | None = None,
    return_documents: bool = False,
) -> list[dict[str, Any]]:
    """Documents by falling score; those of equal score keep their order."""
    labels = loaded.width
    if labels != 1:
        raise UsageError(
            "rank needs a model with one label: the relevance of a document.",
            got=f"a model with {labels} labels",
            allowed="a model with num_labels=1",
            do="call predict with pairs, and sort by the label that you mean",
        )
    if not isinstance(query, str):
        raise InputError(
            "query is not a string.",
            got=f"{type(query).__name__}: {query!r:.60}",
            allowed="one str",
            do="call predict with pairs, where there are several queries",
        )
    texts = arguments.strings("documents", documents)
    if top_k is not None:
        top_k = arguments.positive("top_k", top_k, "documents")
    pairs: list[Text] = [(query, text) for text in texts]
    scores = _scores(loaded, facts, pairs, args).tolist()
    results: list[dict[str, Any]] = [{"corpus_id": i, "score": score} for i, score in enumerate(scores)]
    if return_documents:
        for result in results:
            result["text"] = texts[result["corpus_id"]]
    return sorted(results, key=lambda result: result["score"], reverse=True)[:top_k]


def _texts(inputs: object) -> tuple[list[Text], bool]:
    """The texts to score, and whether they are one: a string, or a sequence that starts with a string."""
    if isinstance(inputs, str):
        return [inputs], True
    items = arguments.listed("inputs", inputs, PAIRS)
    if items and isinstance(items[0], str):
        return [_pair(0, items)], True
    return [_pair(row, item) for row, item in enumerate(items)], False


def _pair(row: int, item: object) -> tuple[str, str]:
    """The two strings of a row, by position.

    Raises:
        InputError: It names the row.
    """
    container = hasattr(item, "__iter__") and not isinstance(item, str)
    texts = arguments.listed(f"Row {row}", item) if container else None
    if not isinstance(texts, list) or len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"Row {row} is not a pair of strings.",
            got=f"{type(item).__name__}: {item!r:.60}",
            allowed='("query", "document")',
            do="pass two strings a row; clean the list first, for example of None and NaN",
        )
    return texts[0], texts[1]


def _scores(loaded: LoadedProgram, facts: TextFacts, texts: list[Text], args: PredictArgs) -> Scores:
    """``(texts,)`` with one label, else ``(texts, labels)``."""
    activate = _activation(facts, args.activation_fn, loaded.width)  # an unknown one is refused before work is done
    scores = activate(_logits(loaded, facts, texts, args))
    if scores.shape[1:] == (1,):
        scores = scores[:, 0]
    return softmax(scores) if args.apply_softmax and scores.ndim > 1 else scores


def _logits(loaded: LoadedProgram, facts: TextFacts, texts: list[Text], args: PredictArgs) -> Scores:
    refuse_chat(facts)
    limit = facts.max_length if args.max_length is None else args.max_length
    prompt = find_prompt(facts.prompts, facts.default_prompt, args.prompt, args.prompt_name)
    reading = Reading.of(loaded, prompt=prompt, limit=limit, overlong=args.overlong)
    found, shortened = [], 0
    with progress(len(texts), args.show_progress_bar, "predict", "pair") as done:
        for window, output in outputs(loaded, reading, texts, args.device_ids, done):
            found.append(output.astype(np.float32, copy=False))
            shortened += len(window.overlong)
    if shortened and args.overlong == "truncate":
        warnings.warn(
            f"{shortened} of {len(texts)} pairs were longer than {limit} tokens and were shortened, "
            'as sentence-transformers does. Pass overlong="error" to refuse them.',
            stacklevel=5,
        )
    return np.concatenate(found)


def refuse_chat(facts: TextFacts) -> None:
    """Refuses a model whose pairs sentence-transformers writes through a chat template.

    Raises:
        UsageError: It is one.
    """
    if facts.chat:
        raise UsageError(
            "sentence-transformers writes this model's pairs through its chat template, which is not done here.",
            got="a tokenizer with a chat template",
            allowed="generate(inputs) with the ids of the finished prompt",
            do="render the pairs with tokenizer.apply_chat_template, and pass the ids to generate",
        )


# ---------------------------------------------------------------------------------------------- activations


def _activation(facts: TextFacts, wanted: Activation | None, labels: int) -> Callable[[Scores], Scores]:
    """What turns logits into scores: the caller's, else the model's own, else CrossEncoder's default."""
    if callable(wanted):
        return lambda logits: _call(wanted, logits)
    if wanted is not None:
        return _named(wanted, f"activation_fn={wanted!r}", "choose one of these, or pass a function of a torch tensor")
    if facts.activation is not None:
        # CrossEncoder takes its default in place of a function that it does not trust; its scores mean something else.
        do = "pass activation_fn= yourself; it goes before the saved one"
        return _named(facts.activation, f"the model's own activation {facts.activation!r}", do)
    return ACTIVATIONS["sigmoid" if labels == 1 else "identity"]


def _named(name: object, got: str, do: str) -> Callable[[Scores], Scores]:
    """The activation of a name such as ``"sigmoid"`` or ``"torch.nn.modules.activation.Sigmoid"``."""
    module, _, kind = str(name).rpartition(".")
    found = ACTIVATIONS.get(kind.lower()) if not module or module.startswith("torch.nn") else None
    if found is None:
        raise UsageError(
            f"The activation is not known by name.{nearest(kind.lower(), list(ACTIVATIONS))}",
            got=got,
            allowed=", ".join(map(repr, ACTIVATIONS)) + ", or such a class of torch.nn by its dotted name",
            do=do,
        )
    return found


def _call(function: Callable[[Any], Any], logits: Scores) -> Scores:
    """A caller's own activation: a tensor ``(pairs, labels)`` in, a tensor or an array of as many rows out."""
    result = function(tensor(logits))
    array = np.asarray(result.detach().cpu() if hasattr(result, "detach") else result)
    if array.dtype.kind != "f" or array.shape[:1] != logits.shape[:1]:
        raise UsageError(
            "activation_fn gave no scores.",
            got=f"{type(result).__name__} of shape {array.shape} and dtype {array.dtype}",
            allowed=f"floats, one row a pair: ({logits.shape[0]}, …)",
            do="pass a function or an instance, such as torch.nn.Sigmoid(), that works on each row",
        )
    return array.astype(np.float32, copy=False)


def softmax(scores: Scores) -> Scores:
    """Each row's exponentials, scaled to the sum 1; float32, as torch does it."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def _sigmoid(logits: Scores) -> Scores:
    with np.errstate(over="ignore"):  # exp of a large number is inf, and 1 / inf is the 0 that is meant
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _softplus(logits: Scores) -> Scores:
    return np.asarray(np.logaddexp(np.float32(0), logits), np.float32)


ACTIVATIONS: dict[str, Callable[[Scores], Scores]] = {
    "identity": lambda logits: logits,
    "sigmoid": _sigmoid,
    "logsigmoid": lambda logits: -_softplus(-logits),
    "softplus": _softplus,
    "tanh": lambda logits: np.tanh(logits),
    "relu": lambda logits: np.maximum(logits, np.float32(0)),
    "silu": lambda logits: logits * _sigmoid(logits),
}
"""Name of a ``torch.nn`` class in lower case → the same function of an array."""
