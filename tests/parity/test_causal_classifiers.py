"""Classifiers of causal models whose config names no pad id, from a folder: HuggingFace one pair at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

import QEfficient
from QEfficient import QEFFAutoModelForSequenceClassification
from tests.real_text import snippets
from tests.reranker_repos import LIMIT, model, pairs
from tests.sweep.build import tokens

PAIRS = [(a[:100], b[: 20 + 4 * place]) for place, (a, b) in enumerate(pairs(10)) if a and b][:12]
SMALL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
QWEN3 = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 24}


def tokenizer(folder: Path) -> int:
    """One without a pad token, as Llama's, whose end token stands behind every text; and how many words it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    trained.train_from_iterator(snippets(200), trainer)
    trained.post_processor = processors.TemplateProcessing("$A <end>", "$A <end> $B <end>", [("<end>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=trained, eos_token="<end>", model_max_length=LIMIT).save_pretrained(folder)
    return int(trained.get_vocab_size())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        path = tmp_path_factory.mktemp("repo")
        sizes = {"vocab_size": tokenizer(path), "max_position_embeddings": LIMIT, "num_key_value_heads": 2}
        model(path, "qwen3", 1, **sizes, head_dim=8, eos_token_id=0)
        yield path


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[QEFFAutoModelForSequenceClassification]:
    made = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    made.compile(backend="onnxruntime", seq_len=[32, LIMIT])
    yield made
    made.close()


@pytest.fixture(scope="module")
def scores(folder: Path) -> NDArray[np.float32]:
    """HuggingFace's, one pair at a time, behind the sigmoid of a reranker."""
    theirs, words = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert theirs.config.pad_token_id is None and words.pad_token is None
    with torch.no_grad():
        rows = [
            theirs.eval()(**words(a, b, truncation=True, max_length=LIMIT, return_tensors="pt")).logits
            for a, b in PAIRS
        ]
    assert torch.cat(rows).std() > 0.05
    return torch.cat(rows)[:, 0].sigmoid().numpy()


def near(got: Any, want: Any) -> None:
    assert np.abs(np.asarray(got) - np.asarray(want)).max() <= 1e-5


def test_pairs_of_many_lengths_are_scored_as_one_at_a_time(
    ours: QEFFAutoModelForSequenceClassification, scores: NDArray[np.float32]
) -> None:
    near(ours.predict(PAIRS), scores)
    near([ours.predict(pair) for pair in PAIRS[:3]], scores[:3])
    assert ours.verify().reference == "HuggingFace float32"


def test_sentence_transformers_agrees_one_pair_at_a_time(folder: Path, scores: NDArray[np.float32]) -> None:
    theirs = CrossEncoder(str(folder), device="cpu", max_length=LIMIT)
    theirs.tokenizer.pad_token = "<end>"  # it pads one pair too, by nothing
    near([theirs.predict(pair) for pair in PAIRS], scores)


def test_documents_are_ranked_by_these_scores(
    ours: QEFFAutoModelForSequenceClassification, folder: Path, scores: NDArray[np.float32]
) -> None:
    query = PAIRS[0][0]
    ranked = ours.rank(query, [document for _, document in PAIRS])
    want = [float(ours.predict((query, document))) for _, document in PAIRS]
    assert [one["corpus_id"] for one in ranked] == sorted(range(len(PAIRS)), key=lambda place: -want[place])
    near([one["score"] for one in ranked], sorted(want, reverse=True))


def test_a_saved_program_gives_the_same(
    ours: QEFFAutoModelForSequenceClassification, scores: NDArray[np.float32], tmp_path: Path
) -> None:
    with_shapes = QEFFAutoModelForSequenceClassification.from_pretrained(
        ours.save_pretrained(tmp_path / "saved"), strict=True
    )
    near(with_shapes.predict(PAIRS), scores)
    assert with_shapes.verify().passed
    with_shapes.close()


def test_the_torch_model_is_asked_row_by_row(folder: Path, ours: QEFFAutoModelForSequenceClassification) -> None:
    words = AutoTokenizer.from_pretrained(folder, pad_token="<end>", padding_side="left")
    batch = words(*map(list, zip(*PAIRS[:5], strict=True)), padding=True, return_tensors="pt")
    assert batch["attention_mask"][:, 0].min() == 0
    torch_numbers = ours.generate(batch, runtime_ai100=False)["logits"]
    near(ours.generate(batch)["logits"], torch_numbers)
    near(torch_numbers[:, 0], np.log((p := ours.predict(PAIRS[:5], activation_fn="sigmoid")) / (1 - p)))


def test_flops_are_counted_for_batches_too(ours: QEFFAutoModelForSequenceClassification) -> None:
    one, two = (ours.analyze(seq_len=32, batch_size=rows).model for rows in (1, 2))
    assert one is not None and two is not None and two.flops == 2 * one.flops > 0


def test_what_fills_a_row_is_in_the_table(folder: Path, tmp_path: Path) -> None:
    """A pad token that was added to the tokenizer and not to the table is never looked up."""
    words = tokenizer(tmp_path)
    padded = AutoTokenizer.from_pretrained(tmp_path)
    padded.add_special_tokens({"pad_token": "<pad>"})
    padded.save_pretrained(tmp_path)
    model(tmp_path, "gpt2", 1, vocab_size=words, n_embd=32, n_layer=1, n_head=4, n_positions=LIMIT, eos_token_id=0)
    made = QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path)
    for pad in (None, words, -1):
        made.config.pad_token_id = pad
        facts = made._text()
        assert (padded.pad_token_id, facts.pad_id) == (words, 0)
    with pytest.warns(
        UserWarning, match=f"the ids {words} '<pad>' will be refused"
    ):  # in a text, where it is no padding
        made.compile(backend="onnxruntime", seq_len=[32, LIMIT])
    near(made.predict(PAIRS), [made.predict(pair) for pair in PAIRS])
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        one = theirs.eval()(**padded(*PAIRS[1], return_tensors="pt", truncation=True, max_length=LIMIT)).logits
    near(made.predict(PAIRS[1]), one[0, 0].sigmoid())
    made.close()


@pytest.mark.parametrize("head", ["TokenClassification", "QuestionAnswering"])
def test_heads_of_every_token_never_asked_for_a_pad_id(folder: Path, head: str) -> None:
    kind = getattr(transformers, f"Qwen3For{head}")
    torch.manual_seed(0)
    theirs = kind(kind.config_class(**QWEN3)).eval()
    assert theirs.config.pad_token_id is None
    made = getattr(QEfficient, f"QEFFAutoModelFor{head}")(theirs)
    made.compile(backend="onnxruntime", seq_len=24)
    batch = tokens((3, 17, "left"))
    with torch.no_grad():
        want = theirs(**batch)
    for name, got in made.generate(batch).items():
        real = batch["attention_mask"].bool().numpy()
        near(got[real], want[name].numpy()[real])
    made.close()
