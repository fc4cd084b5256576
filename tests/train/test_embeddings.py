"""Embedding models: each form of rows is learnt, with the model's own pooling; what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses

from QEfficient.errors import InputError, OptionError, PoolingError
from QEfficient.evaluate.record import Examples
from QEfficient.records import TextFacts
from QEfficient.source.checkpoint import TRAINING_FILE
from QEfficient.train.embeddings import fine_tune_embeddings
from QEfficient.train.pairs import PAIRS, SCORED, embedding_columns
from QEfficient.train.record import Trained
from QEfficient.train.request import parse_request
from QEfficient.train.save import save_model
from QEfficient.train.sentence_losses import embedding_loss, warn_of_own_batches
from QEfficient.train.sentence_model import SentenceHead, sentence_transformer
from tests.train import small

FORMS = {
    "similarity": small.scored_pairs(),
    "retrieval": small.pairs(),
    "reranking": small.graded(),
    "text-classification": small.classes(),
}


WORDS = ("zebra", "tiger")
"""In none of the texts."""


def trained(repo: Path, examples: Examples, head: SentenceHead = small.MEAN, **keywords: Any) -> Trained:
    request = parse_request({"epochs": 4, "batch_size": 8, "learning_rate": 3e-3} | keywords)
    return fine_tune_embeddings(small.encoder(repo), small.tokenizer(repo), head, examples, examples, request)


@pytest.mark.parametrize("task", FORMS)
def test_the_held_out_loss_falls(repo: Path, task: str) -> None:
    before, after = trained(repo, FORMS[task]).course.held_out_losses or (0.0, 0.0)
    assert after < before


@pytest.mark.parametrize("task", ["similarity", "retrieval"])
def test_adapters_are_merged_into_the_encoder(repo: Path, task: str) -> None:
    found = trained(repo, FORMS[task], lora=True, learning_rate=1e-2)
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < before
    assert found.wrapper[0].model is found.module
    assert not [name for name, _ in found.module.named_parameters() if "lora" in name]


def test_a_saved_model_gives_the_same_vectors_in_sentence_transformers(repo: Path, tmp_path: Path) -> None:
    found = trained(repo, FORMS["retrieval"], max_steps=3, lora=True)
    folder = save_model(found, tmp_path / "saved")
    again = SentenceTransformer(str(folder), device="cpu")
    assert np.array_equal(again.encode(small.TEXTS), found.wrapper.encode(small.TEXTS))
    told = json.loads((folder / TRAINING_FILE).read_text())
    assert told["data"]["digest"] == "rows" and told["steps"] == 3 and told["how"]["lora"]["r"] == 16


def test_the_head_is_the_models_own_and_is_trained_too(repo: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = {"linear.weight": torch.eye(16, 32), "linear.bias": torch.zeros(16)}
    save_file(weights, str(tmp_path / "dense.safetensors"))
    dense = {"step": "dense", "in": 32, "out": 16, "bias": True, "activation": "Tanh", "weights": "dense.safetensors"}
    head = SentenceHead(({"step": "pooling", "modes": ["cls"]}, dense, {"step": "normalize"}), tmp_path)
    found = trained(repo, FORMS["retrieval"], head, max_steps=4)
    kinds = [type(part).__name__ for part in found.wrapper]
    assert kinds == ["Transformer", "Pooling", "Dense", "Normalize"]
    assert found.wrapper.encode("a").shape == (16,)
    assert not torch.equal(found.wrapper[2].linear.weight, weights["linear.weight"])


def test_prompts_limit_and_similarity_are_the_models_own(repo: Path) -> None:
    facts = TextFacts(
        tokenizer=None, max_length=12, prompts={"query": "ask: "}, default_prompt="query", similarity="dot"
    )
    model = sentence_transformer(
        small.encoder(repo), small.tokenizer(repo), SentenceHead(small.MEAN.steps, None, facts)
    )
    assert (model.max_seq_length, model.prompts["query"], model.default_prompt_name) == (12, "ask: ", "query")
    assert model.similarity_fn_name == "dot"


def test_a_default_prompt_stands_before_the_texts_that_are_trained_on(repo: Path) -> None:
    def weight(**prompt: Any) -> torch.Tensor:
        facts = TextFacts(tokenizer=None, max_length=32, **prompt)
        found = trained(repo, FORMS["retrieval"], SentenceHead(small.MEAN.steps, None, facts), max_steps=2, dropout=0.0)
        tensor: torch.Tensor = found.module.embeddings.word_embeddings.weight
        return tensor

    start = small.encoder(repo).embeddings.word_embeddings.weight
    word = small.tokenizer(repo).convert_tokens_to_ids("zebra")
    assert torch.allclose(weight()[word], start[word], atol=1e-4)
    assert not torch.allclose(weight(prompts={"p": "zebra "}, default_prompt="p")[word], start[word], atol=1e-4)


@pytest.mark.parametrize(
    ("task", "roles"),
    [
        ("retrieval", ["query", "document"]),
        ("reranking", ["query", "document"]),
        ("similarity", ["text", "pair"]),
        ("text-classification", ["text"]),
    ],
)
def test_prompts_go_by_the_roles_of_the_rows(repo: Path, task: str, roles: list[str]) -> None:
    start = small.encoder(repo).embeddings.word_embeddings.weight
    words = dict(zip(roles, WORDS, strict=False))
    tokens = {role: small.tokenizer(repo).convert_tokens_to_ids(word) for role, word in words.items()}
    for role in roles:
        prompts = {role: f"{words[role]} "}
        found = trained(repo, FORMS[task], max_steps=1, dropout=0.0, prompts=prompts, warmup=0).module
        moved = ~torch.isclose(found.embeddings.word_embeddings.weight, start, atol=1e-4).all(dim=1)
        assert {one for one, token in tokens.items() if moved[token]} == {role}
    with pytest.raises(OptionError, match="nonsense"):
        trained(repo, FORMS[task], prompts={"nonsense": "zebra "})


def test_hard_negatives_are_mined_for_pairs(repo: Path) -> None:
    plain, mined = (
        trained(repo, FORMS["retrieval"], max_steps=2, **more).course.losses for more in ({}, {"hard_negatives": 2})
    )
    assert mined[0][1] > plain[0][1]  # more to tell apart
    with pytest.raises(OptionError, match="pairs only"):
        trained(repo, FORMS["similarity"], hard_negatives=2)


def test_texts_are_cut_where_max_length_says(repo: Path) -> None:
    found = trained(repo, FORMS["retrieval"], max_steps=1, dropout=0.0, weight_decay=0.0, warmup=0, max_length=6)
    start = small.encoder(repo).embeddings.position_embeddings.weight
    moved = (found.module.embeddings.position_embeddings.weight != start).any(dim=1)
    assert moved[:6].all() and not moved[6:].any()


def test_adapters_leave_the_table_of_words(repo: Path) -> None:
    found = trained(repo, FORMS["retrieval"], max_steps=2, lora={"r": 2}, weight_decay=0.0, warmup=0).module
    start = dict(small.encoder(repo).named_parameters())
    changes = {name: (weight - start[name]).detach() for name, weight in found.named_parameters()}
    assert {name for name, change in changes.items() if change.any()} <= {
        name for name, change in changes.items() if change.dim() == 2 and "embeddings" not in name
    }
    sizes = torch.linalg.svdvals(changes["encoder.layer.0.attention.self.query.weight"])
    assert sizes[1] > 0 and sizes[2] < 1e-3 * sizes[0]


def test_a_loss_by_name_or_by_a_function(repo: Path) -> None:
    name = trained(repo, FORMS["similarity"], max_steps=2, loss="CosineSimilarityLoss")
    made = trained(repo, FORMS["similarity"], max_steps=2, loss=losses.CosineSimilarityLoss)
    assert name.course.losses == made.course.losses
    assert made.request.how()["loss"] == "CosineSimilarityLoss"


@pytest.mark.parametrize(
    ("task", "loss", "match"),
    [
        ("similarity", "CosentLoss", "Did you mean .*'CoSENTLoss'"),
        ("similarity", "TripletLoss", "another form"),
        ("retrieval", "MatryoshkaLoss", "lambda model"),
    ],
)
def test_a_loss_that_does_not_fit(repo: Path, task: str, loss: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        trained(repo, FORMS[task], loss=loss)


def test_scores_that_a_loss_can_not_reach(repo: Path) -> None:
    far = small.rows("similarity", text=["a", "b"], pair=["c", "d"], score=[0.0, 5.0])
    with pytest.raises(InputError, match="from -1 to 1"):
        trained(repo, far, loss="CosineSimilarityLoss")


@pytest.mark.parametrize(
    ("examples", "match"),
    [
        (small.rows("similarity", text=["a", "b"], pair=["c", "d"], score=[1.0, 1.0]), "same score"),
        (small.rows("similarity", text=["a", "b"], pair=["c", "d"], score=[1.0, float("nan")]), "row 1"),
        (small.rows("text-classification", text=["a", "b"], label=["x", "x"]), "same label"),
        (small.rows("reranking", query=["a"], documents=[["b"]], grades=[[1]]), "not"),
        (small.rows("fill-mask", text=["a"], target=["b"]), "fill-mask"),
    ],
)
def test_rows_of_which_nothing_can_be_learnt(repo: Path, examples: Examples, match: str) -> None:
    with pytest.raises(InputError, match=match):
        trained(repo, examples)


def test_a_head_that_can_not_be_trained(repo: Path) -> None:
    for steps, match in (((), "Without pooling"), (({"step": "pooler_output"},), "pooler_output")):
        with pytest.raises(PoolingError, match=match):
            trained(repo, FORMS["retrieval"], SentenceHead(steps))


def test_each_positive_is_paired_with_negatives() -> None:
    examples = small.rows("reranking", query=["q"], documents=[["a", "b", "c", "d"]], grades=[[2, 0, 0, 0]])
    _, columns = embedding_columns(examples, "training")
    assert list(zip(*columns.values(), strict=True)) == [("q", "a", "b"), ("q", "a", "c"), ("q", "a", "d")]


@pytest.mark.parametrize(
    "name, gathers",
    [
        ("MultipleNegativesRankingLoss", True),
        ("CachedMultipleNegativesRankingLoss", True),
        pytest.param(
            "MultipleNegativesSymmetricRankingLoss",
            True,
            marks=pytest.mark.filterwarnings("ignore::DeprecationWarning"),
        ),
        ("CoSENTLoss", False),
    ],
)
def test_losses_take_negatives_from_every_process(
    name: str, gathers: bool, repo: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = sentence_transformer(small.encoder(repo), small.tokenizer(repo), small.MEAN)
    form = SCORED if name == "CoSENTLoss" else PAIRS
    request = parse_request({"loss": name})
    alone = embedding_loss(request, model, form, {})
    assert not getattr(alone, "gather_across_devices", False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = embedding_loss(request, model, form, {})
    assert getattr(made, "gather_across_devices", False) is gathers
    with caplog.at_level("WARNING", "QEfficient"):
        warn_of_own_batches(made)
    assert ("each of the 2 processes does so with its own rows only" in caplog.text) is not gathers
