"""``encode`` and its neighbours against sentence-transformers: prompts, limits, containers, similarity."""

from __future__ import annotations

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from QEfficient import QEFFAutoModel
from QEfficient.errors import InputError, UsageError
from tests.tiny_repo import tiny_repo

TEXTS = ["A cat.", "the quick brown fox jumps over the lazy dog", "", "ünïcödé ☃", "word " * 30]
PROMPTS = {"query": "query: ", "passage": "passage: ", "plain": ""}


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_repo(tmp_path_factory.mktemp("repo"), normalize=False)
    settings = {"prompts": PROMPTS, "default_prompt_name": "query", "similarity_fn_name": "dot"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def reference(repo: Path) -> SentenceTransformer:
    return SentenceTransformer(str(repo), device="cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))


@pytest.fixture(scope="module")
def model(repo: Path, home: Path) -> QEFFAutoModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
        model.compile()
    return model


def close(a: Any, b: Any) -> bool:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return bool(a.shape == b.shape and np.abs(a - b).max(initial=0.0) <= 1e-5 * max(1.0, np.abs(a).max(initial=0.0)))


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"prompt": "Represent: "},
        {"prompt_name": "passage"},
        {"prompt_name": "plain"},
        {"prompt": ""},
        {"normalize_embeddings": True},
        {"truncate_dim": 7},
        {"truncate_dim": 7, "normalize_embeddings": True},
        {"batch_size": 2},
        {"device": "cpu"},
    ],
    ids=str,
)
def test_keywords_give_what_sentence_transformers_gives(
    model: QEFFAutoModel, reference: SentenceTransformer, keywords: dict[str, Any]
) -> None:
    assert close(reference.encode(TEXTS, **keywords), model.encode(TEXTS, **keywords))


def test_what_one_call_worked_out_serves_none_with_other_arguments(
    model: QEFFAutoModel, reference: SentenceTransformer
) -> None:
    kinds: list[dict[str, Any]] = [{}, {"truncate_dim": 1}, {"prompt": "x: "}, {"normalize_embeddings": True}]
    expected = [reference.encode(TEXTS[1], **keywords) for keywords in kinds]

    def repeat(kind: int) -> bool:
        return all(close(expected[kind], model.encode(TEXTS[1], **kinds[kind])) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(repeat, range(4)))
    assert model.encode(TEXTS[1], truncate_dim=1).shape == (1,)
    with pytest.raises(UsageError, match="truncate_dim=True"):
        model.encode(TEXTS[1], truncate_dim=True)
    dims = np.array(7)
    assert model.encode(TEXTS[1], truncate_dim=dims).shape == (7,)  # type: ignore[arg-type]
    dims[...] = 3  # the same object, and another number
    assert model.encode(TEXTS[1], truncate_dim=dims).shape == (3,)  # type: ignore[arg-type]
    whole, limit = model.encode(TEXTS[4]), model.max_seq_length
    with pytest.warns(UserWarning, match="longer than 8 tokens"):
        model.max_seq_length = 8
        assert not close(whole, model.encode(TEXTS[4]))
    model.max_seq_length = limit
    assert np.array_equal(whole, model.encode(TEXTS[4]))


@pytest.mark.parametrize("method", ["encode_query", "encode_document"])
def test_query_and_document(model: QEFFAutoModel, reference: SentenceTransformer, method: str) -> None:
    assert close(getattr(reference, method)(TEXTS), getattr(model, method)(TEXTS))
    keywords = {"prompt": "x: ", "normalize_embeddings": True}
    assert close(getattr(reference, method)(TEXTS, **keywords), getattr(model, method)(TEXTS, **keywords))


def test_containers(model: QEFFAutoModel, reference: SentenceTransformer) -> None:
    one = model.encode("A cat.")
    assert one.shape == (32,)
    assert close(reference.encode("A cat."), one)
    tensor = model.encode(TEXTS, convert_to_tensor=True)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (len(TEXTS), 32)
    listed = model.encode(TEXTS, convert_to_numpy=False)
    assert [type(v) for v in listed] == [torch.Tensor] * len(TEXTS)
    assert isinstance(model.encode("A cat.", convert_to_tensor=True), torch.Tensor)
    assert model.encode(tuple(TEXTS)).shape == model.encode(np.array(TEXTS)).shape == (len(TEXTS), 32)
    none = model.encode([])
    assert none.shape == (0, 32)
    assert none.dtype == np.float32


def test_overlong_texts_are_shortened_as_sentence_transformers_does_with_one_warning(
    model: QEFFAutoModel, reference: SentenceTransformer
) -> None:
    texts = ["short", "word " * 100, "another " * 90]
    with pytest.warns(UserWarning, match="2 of 3 texts were longer than 64 tokens") as caught:
        vectors = model.encode(texts)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # it points at the caller's line
    assert close(reference.encode(texts), vectors)
    with pytest.raises(InputError, match="text 1 has 104 tokens"):
        model.encode(texts, overlong="error")


def test_chunks_are_averaged_by_their_tokens(model: QEFFAutoModel) -> None:
    words = [f"word{i}" for i in range(20)] * 8
    text = " ".join(words)
    tokenizer = model._need_loaded().tokenizer
    tokens = tokenizer.encode([text], prompt="", max_length=64, overlong="chunk")
    assert tokens.owners is not None
    assert len(tokens.owners) > 2
    rows = tokens.rows
    parts = [model.generate({n: c[i][None] for n, c in rows.columns.items()})["output"][0] for i in range(len(rows))]
    expected = np.average(np.stack(parts), axis=0, weights=rows.lengths)
    assert close(expected, model.encode(["a", text], prompt="", overlong="chunk")[1])
    assert (model.encode(["a"], overlong="chunk") == model.encode(["a"])).all()


def test_chunks_of_a_normalised_head_have_length_one(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path, layers=1), pooling="auto")
    model.compile(verify="off")
    vectors = model.encode(["word " * 200, "a"], overlong="chunk")
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_max_seq_length_can_be_set_before_and_after_compile(
    repo: Path, model: QEFFAutoModel, reference: SentenceTransformer
) -> None:
    assert model.max_seq_length == 64
    model.max_seq_length = reference.max_seq_length = 16
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*were shortened", category=UserWarning)
            assert close(reference.encode(TEXTS), model.encode(TEXTS))
    finally:
        model.max_seq_length = reference.max_seq_length = 64
    short = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    short.max_seq_length = 16
    short.compile()
    assert [b["seq_len"] for b in short.device_report()["buckets"]] == [16]


def test_max_seq_length_can_be_raised_up_to_the_compiled_buckets(repo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(repo, tmp_path / "copy")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    reference = SentenceTransformer(str(folder), device="cpu")
    model = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    model.compile(seq_len=[16, 64])
    model.max_seq_length = reference.max_seq_length = 64
    assert close(reference.encode(TEXTS), model.encode(TEXTS))


def test_token_embeddings(repo: Path, reference: SentenceTransformer) -> None:
    model = QEFFAutoModel.from_pretrained(repo)
    model.compile(verify="off")
    ours = model.encode(TEXTS, output_value="token_embeddings")
    theirs = reference.encode(TEXTS, output_value="token_embeddings")
    assert len(ours) == len(theirs) == len(TEXTS)
    assert all(close(a, b) for a, b in zip(theirs, ours, strict=True))
    with pytest.raises(UsageError, match='pooling="auto"'):
        model.encode(TEXTS)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity(repo: Path, name: str, tmp_path: Path) -> None:
    from sentence_transformers.util import SimilarityFunction

    from QEfficient.inference.similarity import similarity

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(4, 8)).astype(np.float32)
    theirs = SimilarityFunction.to_similarity_fn(name)
    pairs = SimilarityFunction.to_similarity_pairwise_fn(name)
    assert close(theirs(a, b), similarity(name, a, b, pairwise=False))
    assert close(pairs(a[:4], b), similarity(name, a[:4], b, pairwise=True))
    assert close(theirs(a[0], b), similarity(name, a[0], b, pairwise=False))
    assert isinstance(similarity(name, torch.from_numpy(a), b, pairwise=False), torch.Tensor)
    with pytest.raises(InputError, match="dims"):
        similarity(name, a, b[:, :3], pairwise=False)
    with pytest.raises(InputError, match="rows"):
        similarity(name, a, b, pairwise=True)
    with pytest.raises(InputError, match=r"embeddings2 holds codes(.|\n)*QuantizedEmbeddings"):
        similarity(name, a, b.astype(np.int8), pairwise=False)


def test_the_repo_s_own_similarity_prompts_and_dimension(model: QEFFAutoModel, reference: SentenceTransformer) -> None:
    vectors = model.encode(TEXTS)
    assert model.similarity_fn_name == "dot" == reference.similarity_fn_name
    assert close(reference.similarity(vectors, vectors), model.similarity(vectors, vectors))
    assert close(reference.similarity_pairwise(vectors, vectors), model.similarity_pairwise(vectors, vectors))
    assert PROMPTS.items() <= model.prompts.items()
    assert model.get_sentence_embedding_dimension() == reference.get_embedding_dimension() == 32


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=60), max_size=9))
def test_any_texts_come_back_in_order(model: QEFFAutoModel, texts: list[str]) -> None:
    together = model.encode(texts)
    assert together.shape == (len(texts), 32)
    for row, text in enumerate(texts):
        assert np.abs(model.encode(text) - together[row]).max() <= 1e-5


def test_a_progress_bar_only_when_asked(model: QEFFAutoModel, capsys: pytest.CaptureFixture[str]) -> None:
    model.encode(["a"] * 600)
    assert capsys.readouterr().err == ""  # not a terminal
    model.encode(["a"] * 3, show_progress_bar=True)
    assert "encode" in capsys.readouterr().err


def test_a_text_that_only_huggingface_s_model_takes_is_refused(tmp_path: Path) -> None:
    """BigBird attends sparsely past 14 tokens here; a text that was cut there would get a wrong vector."""
    from transformers import BigBirdConfig, BigBirdModel

    folder = tiny_repo(tmp_path / "repo", normalize=False)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = BigBirdConfig(
        vocab_size=30522, max_position_embeddings=64, block_size=2, num_random_blocks=1, initializer_range=0.3, **sizes
    )
    BigBirdModel(config).save_pretrained(folder)
    model = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    model.compile(backend="onnxruntime")
    assert model.max_seq_length == 64
    assert model.encode("a short text").shape == (32,)
    with pytest.raises(InputError, match="longest|largest"):
        model.encode("word " * 20)
