"""`encode(precision=…)` beside sentence-transformers: what is quantised, when, and into which container."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from sentence_transformers.util import quantize_embeddings

from QEfficient import QEFFAutoModel
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.inference import encode, quantization
from QEfficient.inference.quantization import CODES, SCALAR
from tests.tiny_repo import tiny_repo

WORDS = "rain tea lift soup guitar train tomato bridge panda rates night garden".split()
TEXTS = [f"{first} {second} {n}" for n, (first, second) in enumerate(zip(WORDS * 10, WORDS[5:] * 20, strict=False))]
RANGES = np.array([[-0.6], [0.6]], np.float32).repeat(32, 1)

pytestmark = pytest.mark.filterwarnings("ignore:The ranges of:UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"), normalize=False)


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> QEFFAutoModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        model = QEFFAutoModel.from_pretrained(folder, pooling="auto")
        model.compile()
    return model


@pytest.mark.parametrize("precision", CODES)
@pytest.mark.parametrize(
    "keywords",
    [{}, {"normalize_embeddings": True}, {"truncate_dim": 13}, {"truncate_dim": 13, "normalize_embeddings": True}],
    ids=str,
)
def test_codes_are_those_of_the_float_vectors(model: QEFFAutoModel, precision: Any, keywords: dict[str, Any]) -> None:
    """Quantising is the last step, as in sentence-transformers: the vectors are cut and scaled before."""
    vectors, codes = model.encode(TEXTS, **keywords), model.encode(TEXTS, precision=precision, **keywords)
    want = quantize_embeddings(vectors, precision)
    assert codes.dtype == want.dtype and np.array_equal(codes, want)


@pytest.mark.parametrize("precision", CODES)
def test_containers_are_those_of_sentence_transformers(model: QEFFAutoModel, folder: Path, precision: Any) -> None:
    reference = SentenceTransformer(str(folder), device="cpu")
    for keywords in ({}, {"convert_to_tensor": True}, {"convert_to_numpy": False}):
        want, got = (one.encode(TEXTS, precision=precision, **keywords) for one in (reference, model))
        assert type(want) is type(got) and len(want) == len(got) == len(TEXTS)
        assert [(type(one), one.dtype, one.shape) for one in want] == [(type(one), one.dtype, one.shape) for one in got]
        apart = np.abs(np.stack([np.asarray(one) for one in want]).astype(int) - [np.asarray(one) for one in got])
        assert precision not in SCALAR or apart.max() <= 1  # a value on the edge of a step
        assert (apart > 0).mean() < 0.01
    one = model.encode(TEXTS[0], precision="ubinary")
    assert one.shape == (4,) and np.array_equal(one, model.encode(TEXTS, precision="ubinary")[0])
    none = model.encode([], precision=precision)
    assert (
        none.shape == (0, 32 if precision in SCALAR else 4)
        and none.dtype == model.encode(TEXTS, precision=precision).dtype
    )


def test_ranges_put_queries_and_documents_on_one_grid(model: QEFFAutoModel) -> None:
    for precision in SCALAR:
        keywords: dict[str, Any] = {"precision": precision, "ranges": RANGES}
        codes = model.encode_document(TEXTS, **keywords)
        assert np.array_equal(codes, quantize_embeddings(model.encode(TEXTS), precision, RANGES))
        assert np.array_equal(model.encode_query(TEXTS[3], **keywords), codes[3])
        assert np.array_equal(model.encode(TEXTS[:2], precision=precision, ranges=torch.from_numpy(RANGES)), codes[:2])
    ranges = RANGES.copy()
    before = model.encode(TEXTS[0], precision="int8", ranges=ranges)
    ranges *= 2  # the same array, other numbers
    after = model.encode(TEXTS[0], precision="int8", ranges=ranges)
    assert np.array_equal(after, quantize_embeddings(model.encode(TEXTS[0]), "int8", ranges))
    assert not np.array_equal(after, before)


def test_many_windows_give_the_codes_of_one(model: QEFFAutoModel) -> None:
    many = TEXTS * 70  # more than one window
    vectors = model.encode(many)
    assert np.array_equal(model.encode(many, precision="uint8"), quantize_embeddings(vectors, "uint8"))
    assert np.array_equal(model.encode(many, precision="binary"), quantize_embeddings(vectors, "binary"))
    given = model.encode(many, precision="int8", ranges=RANGES)
    assert np.array_equal(given, quantize_embeddings(vectors, "int8", RANGES))


def test_a_stream_of_codes(model: QEFFAutoModel) -> None:
    for precision, ranges in (("binary", None), ("ubinary", None), ("int8", RANGES), ("uint8", RANGES)):
        codes: list[Any] = list(model.encode_iter(iter(TEXTS), precision=precision, ranges=ranges, window=16))
        assert np.array_equal(np.stack(codes), quantize_embeddings(model.encode(TEXTS), precision, ranges))
        assert codes[0].base is None and codes[0].shape == (32 if ranges is not None else 4,)
    [tensor] = model.encode_iter(TEXTS[:1], precision="binary", convert_to_tensor=True)
    assert tensor.dtype == torch.int8
    with pytest.raises(OptionError, match=r"before the last text(.|\n)*sample"):
        model.encode_iter(TEXTS, precision="int8")


def test_token_vectors_share_their_ranges(folder: Path) -> None:
    model = QEFFAutoModel.from_pretrained(folder)
    model.compile(verify="off")
    vectors = model.encode(TEXTS[:9], output_value="token_embeddings")
    for precision in CODES:
        codes = model.encode(TEXTS[:9], output_value="token_embeddings", precision=precision)
        want = quantize_embeddings(list(vectors), precision)
        assert isinstance(codes, list)
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(codes, want, strict=True))
        single = model.encode(TEXTS[0], output_value="token_embeddings", precision=precision)
        assert np.array_equal(single, quantize_embeddings([vectors[0]], precision)[0])
        assert model.encode([], output_value="token_embeddings", precision=precision) == []


@pytest.mark.filterwarnings("default:The ranges of:UserWarning")
def test_few_texts_are_warned_of_at_the_caller_s_line(model: QEFFAutoModel) -> None:
    with pytest.warns(UserWarning, match="taken from 99 embeddings") as caught:
        model.encode(TEXTS[:99], precision="int8")
    assert [one.filename for one in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode(TEXTS[:100], precision="int8")
        model.encode(TEXTS[:2], precision="int8", ranges=RANGES)
        model.encode(TEXTS[:2], precision="binary")


@pytest.mark.parametrize(
    ("error", "match", "texts", "keywords"),
    [
        (UsageError, "Did you mean 'binary', 'ubinary'", TEXTS, {"precision": "bninary"}),
        (OptionError, "single embedding", TEXTS[0], {"precision": "int8"}),
        (OptionError, "single embedding", TEXTS[:1], {"precision": "uint8"}),
        (OptionError, "ranges are those of 8-bit codes", TEXTS, {"ranges": RANGES}),
        (OptionError, "precision='binary'", TEXTS, {"precision": "binary", "ranges": RANGES}),
        (InputError, r"\(2, 32\)", TEXTS, {"precision": "int8", "ranges": RANGES[:, :5]}),
        (InputError, r"\(2, 5\)", TEXTS, {"precision": "int8", "ranges": RANGES, "truncate_dim": 5}),
    ],
)
def test_refused_before_anything_is_run(
    model: QEFFAutoModel,
    error: type[UsageError],
    match: str,
    texts: Any,
    keywords: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encode, "outputs", lambda *_: pytest.fail("a text was run"))
    with pytest.raises(error, match=match):
        model.encode(texts, **keywords)


@pytest.mark.parametrize("precision", ["int8", "ubinary"])
def test_an_evaluator_that_asks_for_codes_takes_the_model(model: QEFFAutoModel, folder: Path, precision: Any) -> None:
    scores = [((n * 7) % 10) / 10 for n in range(100)]
    judge = EmbeddingSimilarityEvaluator(TEXTS[:100], TEXTS[20:120], scores, precision=precision)
    want = judge(SentenceTransformer(str(folder), device="cpu"))
    got = judge(model)  # type: ignore[arg-type]
    assert want.keys() == got.keys()
    assert all(abs(want[name] - got[name]) < 5e-3 for name in want)


def test_encode_names_the_precisions_of_sentence_transformers() -> None:
    from sentence_transformers.sentence_transformer import model as theirs

    assert set(quantization.PRECISIONS) == theirs.ALLOWED_PRECISIONS
    assert inspect.signature(QEFFAutoModel.encode).parameters["ranges"].kind is inspect.Parameter.KEYWORD_ONLY
