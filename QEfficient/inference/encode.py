"""Strings → vectors, as sentence-transformers gives them, over a loaded program. No torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.errors import OptionError, UsageError
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.inference.prompts import all_prompts, find_prompt
from QEfficient.inference.quantization import PRECISIONS, SCALAR, quantize_embeddings
from QEfficient.inference.ranges import check_enough, checked_ranges, find_ranges
from QEfficient.inference.similarity import Vectors, normalize, tensor
from QEfficient.inference.texts import Reading, TextWindow, outputs
from QEfficient.progress import LONG_WORK, progress
from QEfficient.records import TextFacts
from QEfficient.runtime.stream import PATIENCE, Source
from QEfficient.text.tokenizer import Overlong


class EncodeArgs(NamedTuple):
    """The keywords of one ``encode`` call that say what a vector is; the method's docstring explains them."""

    prompt: str | None = None
    prompt_name: str | None = None
    show_progress_bar: bool | None = None
    output_value: str = "sentence_embedding"
    precision: str | None = "float32"
    convert_to_numpy: bool = True
    convert_to_tensor: bool = False
    normalize_embeddings: bool = False
    truncate_dim: int | None = None
    overlong: Overlong = "truncate"
    ranges: Any = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Those that a method which has them was given: its ``locals()``."""
        return cls(**{name: given[name] for name in cls._fields if name in given})


class TextEncoder:
    """Strings → vectors, with all that does not depend on the strings worked out once. Safe from many threads.

    Args:
        loaded: The program.
        facts: Its text facts, with the caller's own limit.
        args: How vectors are to be made.

    Raises:
        UsageError: The arguments don't fit the program.
    """

    def __init__(self, loaded: LoadedProgram, facts: TextFacts, args: EncodeArgs) -> None:
        self._loaded, self._facts, self._args = loaded, facts, args
        self._dim = _checked_dim(loaded, facts, args)
        self._per_token = args.output_value == "token_embeddings"
        self._precision = _checked_precision(args)
        self._waits = self._precision in SCALAR and args.ranges is None  # for all vectors, to know their ranges
        prompt = find_prompt(all_prompts(facts), facts.default_prompt, args.prompt, args.prompt_name)
        self._reading = Reading.of(loaded, prompt=prompt, limit=facts.max_length, overlong=args.overlong)

    def encode(self, sentences: object, devices: Sequence[int] | None = None) -> Any:
        """One or many strings → vectors in the container that the arguments name."""
        args, per_token, single = self._args, self._per_token, isinstance(sentences, str)
        texts = [sentences] if isinstance(sentences, str) else arguments.strings("inputs", sentences)
        ranges = self._ranges()
        if self._waits and not per_token and texts:
            check_enough(self._precision, len(texts))
        vectors: Any = [] if per_token else None
        chunks, shortened = args.overlong == "chunk", 0
        bar = args.show_progress_bar or len(texts) >= LONG_WORK
        with progress(len(texts), args.show_progress_bar, "encode", "text") if bar else nullcontext() as done:
            for window, output in outputs(self._loaded, self._reading, texts, devices, None if chunks else done):
                found = self._vectors(window, output, ranges)
                if per_token:
                    vectors.extend(found)
                elif window.count == len(texts):
                    vectors = found
                else:
                    if vectors is None:
                        vectors = np.empty((len(texts), found.shape[1]), found.dtype)
                    vectors[window.first : window.first + window.count] = found
                shortened += len(window.overlong)
                if chunks and done is not None:
                    done(window.count)
        if shortened and args.overlong == "truncate":
            warnings.warn(
                f"{shortened} of {len(texts)} texts were longer than {self._facts.max_length} tokens and were "
                'shortened, as sentence-transformers does. Pass overlong="error" or "chunk" to handle them otherwise.',
                stacklevel=3,
            )
        if self._waits:
            if texts:
                rows = np.concatenate(vectors) if per_token else vectors
                ranges = find_ranges(rows, self._precision, stacklevel=4)
            vectors = quantize_embeddings(vectors, self._precision, ranges)
        if single:
            vectors = vectors[0]
        if args.convert_to_tensor and not (per_token and not single):
            return tensor(vectors)
        if args.convert_to_numpy and not args.convert_to_tensor:
            return vectors
        return tensor(vectors) if single else [tensor(vector) for vector in vectors]

    def stream(self, sentences: object, window: int, devices: Sequence[int] | None = None) -> Iterator[Any]:
        """Strings → one vector each, in order; both may go on for ever."""
        if self._waits:
            raise OptionError(
                f"A stream of {self._precision} codes needs their ranges: the first code is due before the last text.",
                got="ranges=None",
                allowed="ranges of shape (2, dim)",
                do="take them from the vectors of a sample: np.vstack([vectors.min(axis=0), vectors.max(axis=0)])",
            )
        ranges = self._ranges()
        texts = arguments.each("inputs", sentences)
        source = Source(texts, check=arguments.string, window=window, patience=PATIENCE)
        return self._streamed(source, devices, ranges)

    def _streamed(self, source: Source, devices: Sequence[int] | None, ranges: NDArray[Any] | None) -> Iterator[Any]:
        tensors = self._args.convert_to_tensor or not self._args.convert_to_numpy
        told = self._args.overlong != "truncate"
        with self._loaded.stream(source, self._reading, devices, partial=True) as stream:
            for window, arrays in stream:
                if window.overlong and not told:
                    told = True
                    warnings.warn(
                        f"Text {window.first + window.overlong[0]} was longer than {self._facts.max_length} tokens and "
                        "was shortened, as sentence-transformers does; further ones are shortened without a word. "
                        'Pass overlong="error" or "chunk" to handle them otherwise.',
                        stacklevel=2,
                    )
                for vector in self._vectors(window, next(iter(arrays.values())), ranges):
                    own = vector.copy()  # a vector that is kept must not keep its window
                    yield tensor(own) if tensors else own
                    stream.pump()

    def _ranges(self) -> NDArray[Any] | None:
        """The caller's ranges as they are now: an array may be written to between two calls."""
        return None if self._args.ranges is None else checked_ranges(self._args.ranges, self._dim)

    def _vectors(self, window: TextWindow, output: NDArray[Any], ranges: NDArray[Any] | None) -> Any:
        """What one window's texts get: a vector each, or one a token of each; as codes unless they wait for ranges."""
        found = self._floats(window, output.astype(np.float32, copy=False))
        if self._precision == "float32" or self._waits:
            return found
        return quantize_embeddings(found, self._precision, ranges)

    def _floats(self, window: TextWindow, output: Vectors) -> Vectors | list[Vectors]:
        if self._per_token:
            return _token_vectors(window, output)
        vectors, owners = output, window.owners
        if owners is not None:
            unit = _ends_normalised(self._loaded)
            vectors = _join_chunks(vectors, owners, window.rows.lengths, window.count, unit=unit)
        if self._dim < vectors.shape[1]:
            vectors = vectors[:, : self._dim].copy()  # a vector that is kept must not keep what was cut off
        # A unit vector that was cut is no unit vector any more; only a caller who asks for length 1 gets it back.
        return normalize(vectors) if self._args.normalize_embeddings else np.ascontiguousarray(vectors)


def _checked_precision(args: EncodeArgs) -> str:
    """What the vectors become; sentence-transformers' evaluators say None for float32."""
    precision = "float32" if args.precision is None else arguments.one_of("precision", args.precision, PRECISIONS)
    if args.ranges is not None and precision not in SCALAR:
        raise OptionError(
            f"ranges are those of 8-bit codes, and not of {precision}.",
            got=f"ranges and precision={precision!r}",
            allowed=f"precision of {' or '.join(map(repr, SCALAR))}",
            do="leave ranges out, or choose one of these",
        )
    return precision


def _checked_dim(loaded: LoadedProgram, facts: TextFacts, args: EncodeArgs) -> int:
    """How many dims a vector has, once the arguments are known to fit the program."""
    arguments.one_of("output_value", args.output_value, ("sentence_embedding", "token_embeddings"))
    if args.output_value == "sentence_embedding" and loaded.per_token:
        raise UsageError(
            "This program gives one vector a token, so a text has no single vector.",
            got="pooling=None",
            allowed="a program compiled with pooling",
            do='load with pooling="auto" (or a named mode) and compile, or pass output_value="token_embeddings"',
        )
    if args.output_value == "token_embeddings" and not loaded.per_token:
        raise UsageError(
            "This program pools inside the graph, so token vectors never leave it.",
            got='output_value="token_embeddings"',
            allowed="a program compiled with pooling=None",
            do="load with pooling=None and compile again",
        )
    if args.output_value == "token_embeddings":
        return loaded.width
    if args.truncate_dim is None:
        return loaded.kept_dims
    dim = arguments.whole(args.truncate_dim)
    if dim is None or not 1 <= dim <= loaded.width:
        raise UsageError(
            "truncate_dim is not a number of the vector's dims.",
            got=f"truncate_dim={args.truncate_dim!r}",
            allowed=f"1 to {loaded.width}",
            do="pass an int in this range, or leave it out",
        )
    return dim


def _token_vectors(window: TextWindow, vectors: Vectors) -> list[Vectors]:
    rows = [vectors[index, :length].copy() for index, length in enumerate(window.rows.lengths)]
    if window.owners is None:
        return rows
    joined: list[list[Vectors]] = [[] for _ in range(window.count)]
    for row, owner in zip(rows, window.owners, strict=True):
        joined[owner].append(row)
    return [np.concatenate(parts) for parts in joined]


def _join_chunks(vectors: Vectors, owners: Sequence[int], lengths: Sequence[int], count: int, *, unit: bool) -> Vectors:
    """The mean of each text's windows, weighted by their tokens; of length 1 again where each window was."""
    owner = np.asarray(owners, dtype=np.int64)
    weight = np.asarray(lengths, dtype=np.float32)
    sums = np.zeros((count, vectors.shape[-1]), dtype=np.float32)
    np.add.at(sums, owner, vectors * weight[:, None])
    totals = np.zeros(count, dtype=np.float32)
    np.add.at(totals, owner, weight)
    joined = sums / np.maximum(totals, 1.0)[:, None]
    whole = np.bincount(owner, minlength=count) == 1  # a text of one window keeps its own bits
    joined[owner[whole[owner]]] = vectors[whole[owner]]
    if unit:
        joined[~whole] = normalize(joined[~whole])
    return joined.astype(np.float32, copy=False)


def _ends_normalised(loaded: LoadedProgram) -> bool:
    facts = loaded.program.manifest.model
    return bool(facts and facts.head and facts.head[-1].get("step") == "normalize")
