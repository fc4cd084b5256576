"""What is reported is what is done: dims, limits, prompts, similarity, class, dtype, devices; and as the peers say."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LayoutLMConfig,
    LayoutLMForQuestionAnswering,
    T5Config,
    T5EncoderModel,
)

from QEfficient import QEFFAutoModel, QEFFAutoModelForQuestionAnswering
from QEfficient.backends.base import Tunable
from QEfficient.diagnostics.benchmark import BenchmarkArgs, _tokenise_and_run
from QEfficient.evaluate.mteb import MTEBEncoder
from QEfficient.records import Tuning
from QEfficient.runtime.calibrate import remember
from tests.tiny_repo import tiny_repo

TEXTS = ["A cat.", "the quick brown fox jumps over the lazy dog"]
LIMIT = 48
SETTINGS = {"prompts": {"query": "find: ", "plain": ""}, "similarity_fn_name": "dot"}


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | changes))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_repo(tmp_path_factory.mktemp("repo"), layers=1, normalize=False)
    edit(folder / "config_sentence_transformers.json", **SETTINGS)
    edit(folder / "sentence_bert_config.json", max_seq_length=LIMIT)
    edit(folder / "config.json", architectures=["BertForMaskedLM"])  # a checkpoint of pre-training
    return folder


@pytest.fixture(autouse=True)
def one_cache(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(repo.parent / "home"))


def compiled(repo: Path) -> QEFFAutoModel:
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile()
    return model


def both(model: QEFFAutoModel, folder: Path) -> tuple[QEFFAutoModel, QEFFAutoModel]:
    """A compiled model, and the same as a saved program."""
    return model, QEFFAutoModel.from_pretrained(model.save_pretrained(folder / "saved"))


@pytest.fixture
def theirs(repo: Path) -> SentenceTransformer:
    return SentenceTransformer(str(repo), device="cpu")


@pytest.mark.parametrize("dims", [None, 7, 32, 9999])
def test_dims(repo: Path, tmp_path: Path, dims: int | None) -> None:
    edit(repo / "config_sentence_transformers.json", truncate_dim=dims)
    reference = SentenceTransformer(str(repo), device="cpu")
    for model in both(compiled(repo), tmp_path):
        width = model.encode("a text").shape[-1]
        assert model.get_sentence_embedding_dimension() == model.get_embedding_dimension() == width
        assert width == reference.get_embedding_dimension() == reference.encode("a text").shape[-1]
        assert MTEBEncoder(model).mteb_model_meta.embed_dim == width
        assert [v.shape[-1] for v in model.encode_iter(TEXTS)] == [width, width]
    edit(repo / "config_sentence_transformers.json", truncate_dim=None)


def tokens_kept(model: QEFFAutoModel) -> int:
    """Tokens of a long text that its vector is made of."""
    text, before = "word " * 500, model.device_report()["work"]["tokens"]
    with pytest.warns(UserWarning, match="were shortened"):
        model.encode(text)
    return int(model.device_report()["work"]["tokens"] - before)


def test_limit(repo: Path, tmp_path: Path, theirs: SentenceTransformer) -> None:
    for model in both(compiled(repo), tmp_path):
        assert model.max_seq_length == model.get_max_seq_length() == tokens_kept(model) == LIMIT
        assert theirs.max_seq_length == LIMIT
        assert MTEBEncoder(model).mteb_model_meta.max_tokens == LIMIT
        model.max_seq_length = np.int64(16)
        assert model.max_seq_length == tokens_kept(model) == 16
        lengths = model.analyze(texts=["word " * 90], before=False, fp16=False).lengths
        assert lengths is not None
        assert dict(lengths.histogram) == {16: 1}


def test_a_benchmark_keeps_to_the_limit_that_is_set(repo: Path) -> None:
    model = compiled(repo)
    model.max_seq_length = 16
    ready = model._need_loaded()
    call = _tokenise_and_run(ready, BenchmarkArgs.of(TEXTS, None, 1.0, 1, None, model._max_seq_length))
    before = ready.work.total.tokens
    call(["word " * 40] * 3)
    assert ready.work.total.tokens - before == 3 * 16


def test_prompts_and_similarity(repo: Path, tmp_path: Path, theirs: SentenceTransformer) -> None:
    uncompiled = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    for model in both(compiled(repo), tmp_path):
        assert model.prompts == uncompiled.prompts == theirs.prompts
        for name in ("query", "document"):
            found = getattr(model, f"encode_{name}")(TEXTS)
            assert np.array_equal(found, model.encode(TEXTS, prompt=model.prompts[name]))
            assert np.allclose(found, getattr(theirs, f"encode_{name}")(TEXTS), atol=1e-4)
        assert model.similarity_fn_name == uncompiled.similarity_fn_name == theirs.similarity_fn_name == "dot"
        a = model.encode(TEXTS)
        assert np.allclose(model.similarity(a, a), theirs.similarity(a, a), rtol=1e-5)
        assert np.allclose(model.similarity(a, a), a @ a.T, rtol=1e-5)


def test_class(repo: Path, tmp_path: Path) -> None:
    """Whatever class a checkpoint was saved from, the model is what transformers makes of it."""
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    assert model.model_name == type(AutoModel.from_pretrained(repo)).__name__ == "BertModel"
    assert type(model.model).__name__ == model.model_name
    for made in both(compiled(repo), tmp_path):
        assert made.model_name == "BertModel"
    config = T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(tmp_path / "t5")
    half = QEFFAutoModel.from_pretrained(tmp_path / "t5")
    assert half.model_name == type(half.model).__name__ == "T5EncoderModel"
    page = LayoutLMConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=50)
    LayoutLMForQuestionAnswering(page).save_pretrained(tmp_path / "page")  # another Auto class of transformers has it
    answers = QEFFAutoModelForQuestionAnswering.from_pretrained(tmp_path / "page")
    assert answers.model_name == type(answers.model).__name__ == "LayoutLMForQuestionAnswering"
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=50)).save_pretrained(tmp_path / "words")
    words = QEFFAutoModel.from_pretrained(tmp_path / "words")
    assert words.model_name == type(words.model).__name__ == "GPT2Model"
    bert = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8))
    assert QEFFAutoModel(bert).model_name == "BertModel"


@pytest.mark.parametrize("wanted", [None, "float16", torch.bfloat16, "auto"], ids=str)
@pytest.mark.parametrize("said", [True, False], ids=["config says it", "config is silent"])
def test_dtype(tmp_path: Path, wanted: Any, said: bool) -> None:
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    BertModel(config).half().save_pretrained(tmp_path)
    if not said:
        content = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in content.items() if "dtype" not in k}))
    model = QEFFAutoModel.from_pretrained(tmp_path, **({} if wanted is None else {"dtype": wanted}))
    assert model.dtype == next(model.model.parameters()).dtype


def test_tuning_is_that_of_the_open_session(repo: Path) -> None:
    """What another process measured meanwhile counts for the next session."""
    model = compiled(repo)
    model.encode(TEXTS)
    ready = model._need_loaded()
    with ready.session() as session:
        assert isinstance(session, Tunable)
        was = session.tuning
    remember(ready.program, ready.backend, Tuning(1, 1, 333))
    assert model.device_report()["tuning"] == {"measured": False}
    with ready.session() as session:
        assert isinstance(session, Tunable) and session.tuning == was
    model.close()
    assert model.device_report()["tuning"] == {"measured": True, "streams": 1, "threads": 1, "batch_tokens": 333}
    with ready.session() as session:
        assert isinstance(session, Tunable) and (session.slots, session.tuning) == (1, Tuning(1, 1, 333))
    shutil.rmtree(repo.parent / "home" / "tunings")


def test_buckets_are_those_that_run(repo: Path, tmp_path: Path) -> None:
    model = compiled(repo)
    sizes = [bucket["seq_len"] for bucket in model.device_report()["buckets"]]
    assert sizes == [32, LIMIT]
    strict = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"), strict=True)
    for words, size in ((3, 32), (40, LIMIT)):
        before = strict.device_report()["work"]["positions"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            strict.encode("word " * words)
        assert strict.device_report()["work"]["positions"] - before == size
