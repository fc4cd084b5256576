"""A corpus of embeddings as codes, with all that is needed to read them; and the search over it. No torch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Self, TypedDict

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.cache.disk import disk_errors
from QEfficient.cache.files import replacing
from QEfficient.errors import CorruptArtefactError, InputError, OptionError
from QEfficient.inference import nearest
from QEfficient.inference.code_scores import Score, hamming_scores, rescored, scalar_scores
from QEfficient.inference.quantization import (
    CODES,
    SCALAR,
    code_type,
    code_width,
    dequantize_embeddings,
    quantize_embeddings,
)
from QEfficient.inference.ranges import checked_ranges, find_ranges, finite, floats
from QEfficient.inference.similarity import TINY, Vectors, normalize


class SearchHit(TypedDict):
    """One row that was found, as ``sentence_transformers.util.semantic_search`` gives it."""

    corpus_id: int
    score: float


@dataclass(frozen=True, eq=False)
class QuantizedEmbeddings:
    """Codes of a corpus, one row a vector, and the search that reads them as what they stand for.

    >>> import numpy as np
    >>> from QEfficient import QuantizedEmbeddings
    >>> vectors = np.random.default_rng(0).normal(size=(500, 384)).astype(np.float32)
    >>> corpus = QuantizedEmbeddings.from_embeddings(vectors, "int8")
    >>> vectors.nbytes, corpus.codes.nbytes
    (768000, 192000)
    >>> [hit["corpus_id"] for hit in corpus.search(vectors[7], top_k=1)[0]]
    [7]

    Args:
        codes: What ``encode(precision=…)`` or ``quantize_embeddings`` gave: ``(n, dim)``, or ``(n, ceil(dim / 8))`` of
            the binary ones. They are not copied; a memory-mapped array stays on disk.
        precision: ``"int8"``, ``"uint8"``, ``"binary"`` or ``"ubinary"``.
        ranges: Of int8 and uint8: those that the codes were made with, ``(2, dim)``.

    Raises:
        InputError: Codes of another dtype, or without their ranges.
        OptionError: Ranges of binary codes, which have none.
        UsageError: No such precision.
    """

    codes: NDArray[Any]
    precision: str
    ranges: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        arguments.one_of("precision", self.precision, CODES)
        codes = np.asanyarray(arguments.on_host(self.codes))
        if codes.ndim != 2 or codes.dtype != code_type(self.precision):
            raise InputError(
                f"These are no {self.precision} codes.",
                got=f"{codes.dtype} of shape {codes.shape}",
                allowed=f"{np.dtype(code_type(self.precision))} of shape (n, {'bytes' if self._binary else 'dim'})",
                do='for floats: QuantizedEmbeddings.from_embeddings; "int8" and "binary" are int8, the others uint8',
            )
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "ranges", self._own_ranges(codes.shape[1]))

    @classmethod
    def from_embeddings(
        cls, embeddings: Any, precision: str, ranges: Any = None, calibration_embeddings: Any = None
    ) -> Self:
        """Quantises vectors; the arguments are those of :func:`QEfficient.quantize_embeddings`.

        Args:
            embeddings: ``(n, dim)`` floats.
            precision: ``"int8"``, ``"uint8"``, ``"binary"`` or ``"ubinary"``.
            ranges: Of int8 and uint8, ``(2, dim)``; left out, the least and the largest value of each dimension.
            calibration_embeddings: In their place: vectors ``(m, dim)`` to take ranges from.

        Raises:
            InputError: No floats of shape ``(n, dim)``, or NaN among them.
            OptionError: Ranges would have to come from a single vector.
            UsageError: No such precision.
        """
        arguments.one_of("precision", precision, CODES)
        vectors = floats(embeddings)
        if vectors.ndim != 2:
            raise InputError(
                "A corpus is quantised as one vector a row.",
                got=f"{vectors.dtype} of shape {vectors.shape}",
                allowed="floats of shape (n, dim)",
                do="pass what encode gives for a list of texts",
            )
        if precision in SCALAR and ranges is None:
            ranges = find_ranges(finite(vectors), precision, calibration_embeddings)
        return cls(quantize_embeddings(vectors, precision, ranges), precision, ranges)

    def __len__(self) -> int:
        return len(self.codes)

    def search(
        self,
        queries: Any,
        top_k: int = 10,
        *,
        similarity: str = "cosine",
        rescore: Any = True,
        rescore_multiplier: int = 4,
    ) -> list[list[SearchHit]]:
        """The rows that are most similar to each query.

        Queries stay float32. Codes of 8 bits are compared by the similarity of the vectors that they stand for,
        ``code · step + start``; no copy of these is made. Codes of 1 bit are compared in two steps, as Yamada and
        others do (https://arxiv.org/abs/2106.00882): ``top_k × rescore_multiplier`` rows of the least Hamming
        distance, put in order by the float query's similarity with vectors of -1 and 1. Such scores order rows, and
        are not those of the float vectors.

        Args:
            queries: ``(q, dim)`` floats, or one vector ``(dim,)``, of the model that made the corpus.
            top_k: How many rows a query gets; a corpus of fewer gives all.
            similarity: ``"cosine"`` or ``"dot"``, as ``model.similarity_fn_name`` says. Of vectors of length 1 both
                are the same.
            rescore: What puts candidates in order. True: as above. False, of binary codes: the Hamming distance alone,
                scores are the similarity of the vectors of signs. Or better vectors of the same rows: floats
                ``(n, dim)``, of which only candidates are read, so that they may be memory-mapped; or other
                ``QuantizedEmbeddings``.
            rescore_multiplier: How many candidates there are, times ``top_k``.

        Returns:
            A list a query, best first, of ``{"corpus_id": row, "score": similarity}``; of equal scores the earlier
            row is first. Empty lists of an empty corpus.

        Raises:
            InputError: Queries, or vectors to rescore with, that don't fit the corpus, are no floats, or have NaN.
            OptionError: ``top_k`` or ``rescore_multiplier`` is no positive whole number.
            UsageError: No such similarity.
        """
        cosine = arguments.one_of("similarity", similarity, ("cosine", "dot")) == "cosine"
        top = min(arguments.positive("top_k", top_k, "rows"), len(self))
        wide = min(top * arguments.positive("rescore_multiplier", rescore_multiplier, "candidates"), len(self))
        asked = self._queries(queries)
        better = (self if rescore and self._binary else None) if isinstance(rescore, bool) else rescore
        if better is not None:
            better = _rows_like(better, len(self), asked.shape[1])
        if not len(asked) or not top:
            return [[] for _ in asked]
        asked = normalize(asked) if cosine else asked
        scores, ids = nearest.best_rows(asked, len(self), top if better is None else wide, self._score(cosine=cosine))
        if better is not None:
            scores, ids = rescored(asked, ids, better, cosine=cosine)
        return [
            [{"corpus_id": row, "score": score} for row, score in zip(rows, found, strict=True)]
            for rows, found in zip(ids[:, :top].tolist(), scores[:, :top].tolist(), strict=True)
        ]

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes codes, precision and ranges into one ``.npz`` file, whole or not at all, and gives its path.

        Raises:
            CacheError: The disk is full or can't be written, or the folder is not there.
        """
        arguments.path_like("path", path, "the name of a file")
        target = Path(path) if str(path).endswith(".npz") else Path(f"{path}.npz")
        arrays = {"codes": self.codes, "precision": np.array(self.precision)}
        if self.ranges is not None:
            arrays["ranges"] = self.ranges
        with disk_errors("The codes could not be written.", target), replacing(target) as file:
            np.savez(file, allow_pickle=False, **arrays)
        return target

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: There is no such file.
            CorruptArtefactError: It is another kind of file, or damaged.
        """
        arguments.path_like("path", path, "the name of a file")
        if not Path(path).is_file():
            raise InputError(
                "There is no such file.", got=str(path), allowed="a file that save wrote", do="pass what save returned"
            )
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            return cls(arrays["codes"], str(arrays["precision"]), arrays.get("ranges"))
        except (OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise CorruptArtefactError(
                "The file holds no quantised embeddings.",
                got=f"{path}: {error}",
                allowed="what QuantizedEmbeddings.save wrote",
                do="quantise the embeddings again and save them",
            ) from error

    @property
    def _binary(self) -> bool:
        return self.precision not in SCALAR

    def _own_ranges(self, dim: int) -> NDArray[np.float32] | None:
        if self._binary and self.ranges is not None:
            raise OptionError(
                f"Codes of precision {self.precision} have no ranges.",
                got="ranges",
                allowed=f"ranges of {' and '.join(SCALAR)}",
                do="leave ranges out",
            )
        if not self._binary and self.ranges is None:
            raise InputError(
                f"Codes of precision {self.precision} can't be read without the ranges that they were made with.",
                got="ranges=None",
                allowed=f"(2, {dim}): the least and the largest value of each dimension",
                do=f"choose ranges, and pass them to encode(…, precision={self.precision!r}, ranges=ranges) and here",
            )
        return None if self._binary else np.array(np.broadcast_to(checked_ranges(self.ranges, dim), (2, dim)))

    def _score(self, *, cosine: bool) -> Score:
        if self.ranges is None:
            return hamming_scores(self.codes, self.precision, cosine=cosine)
        return scalar_scores(self.codes, self.ranges, self._norms if cosine else None)

    @cached_property
    def _norms(self) -> Vectors:
        """The length of each vector that the codes stand for, ``(n,)``: 4 bytes a row, kept for the next search."""
        dim = self.codes.shape[1]
        slices = nearest.blocks(len(self), max(1, nearest.BLOCK // max(1, dim)))
        lengths = [np.linalg.norm(self._vectors(rows, dim), axis=1) for rows in slices]
        return np.asarray(np.maximum(np.concatenate(lengths), TINY), np.float32)

    def _vectors(self, rows: Any, dim: int) -> Vectors:
        return dequantize_embeddings(self.codes[rows], self.precision, self.ranges, dim)

    def _queries(self, queries: Any) -> Vectors:
        with np.errstate(over="ignore"):  # then they are infinite, and refused
            found = np.atleast_2d(floats(queries, "queries")).astype(np.float32, copy=False)
        finite(found, "queries")
        if found.ndim != 2 or code_width(found.shape[1], self.precision) != self.codes.shape[1]:
            width = self.codes.shape[1]
            raise InputError(
                "The queries do not fit the corpus.",
                got=f"queries of shape {found.shape}",
                allowed=f"{8 * width} dims, or up to 7 fewer" if self._binary else f"(q, {width})",
                do="encode both with the same model and truncate_dim",
            )
        return found


def _rows_like(vectors: Any, count: int, dim: int) -> Callable[[nearest.Ids], Vectors]:
    """What gives the better vectors of some rows, once they are known to be of these rows."""
    if isinstance(vectors, QuantizedEmbeddings):
        held: Any = vectors
        width = code_width(dim, vectors.precision)
        shape = vectors.codes.shape
    else:
        held = floats(vectors, "rescore")
        width, shape = dim, held.shape
    if shape != (count, width):
        raise InputError(
            "The vectors to rescore with are not those of this corpus.",
            got=f"shape {shape}",
            allowed=f"({count}, {width})",
            do="pass the vectors of the same texts in the same order",
        )
    if isinstance(held, QuantizedEmbeddings):
        return lambda rows: held._vectors(rows, dim)
    return lambda rows: finite(np.asarray(held[rows], np.float32), "rescore")
