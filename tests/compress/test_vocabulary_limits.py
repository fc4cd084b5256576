"""What is refused or warned of; and a refused pruning leaves everything as it was."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.auto.compression.quantized import Quantized
from QEfficient.compress.vocabulary import tables
from QEfficient.errors import (
    CompressionRefusedError,
    InputError,
    OptionError,
    QEfficientError,
    TransformError,
    UsageError,
)
from tests.compress.vocabularies import KINDS, TEXTS, model, repo, tokenizer

DATA, UNHEARD = TEXTS[:20:2], [f"zebra number {number}, quite unheard of" for number in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("before")
    module = model("BertForSequenceClassification", KINDS["WordPiece"]().get_vocab_size(), num_labels=2)
    return repo(path, "WordPiece", module)


@pytest.fixture
def classifier(folder: Path) -> Any:
    return QEFFAutoModelForSequenceClassification.from_pretrained(folder)


def everything(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for one in folders for path in one.rglob("*") if path.is_file()}


def test_many_touched_texts_are_warned_of_or_refused(classifier: Any, tmp_path: Path) -> None:
    eval = [*DATA[:7], *UNHEARD[:1]]
    with pytest.warns(UserWarning, match=r"lacks tokens of many held-out texts: 1 of 8 texts \(12.5%\)") as caught:
        classifier.prune_vocabulary(DATA, eval=eval, output_dir=tmp_path / "warned")
    assert caught[0].filename == __file__
    classifier.prune_vocabulary(DATA, eval=eval, max_lost=0.125, output_dir=tmp_path / "allowed")  # warnings are errors
    with pytest.raises(CompressionRefusedError, match=r"(?s)max_lost.*12.5%.*a share of at most 0.1\b"):
        classifier.prune_vocabulary(DATA, eval=eval, max_lost=0.1, output_dir=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    with pytest.raises(UsageError, match="without eval, and fewer than 10"):
        classifier.prune_vocabulary(DATA[:9], max_lost=0.1)
    assert classifier.prune_vocabulary(DATA[:9], output_dir=tmp_path / "few").compressed[-1]["made"]["texts"] == 0


@settings(max_examples=12, deadline=None)
@given(limit=st.floats(0, 1), eval=st.lists(st.sampled_from([*DATA, *UNHEARD]), min_size=1, max_size=8, unique=True))
def test_a_limit_that_is_exceeded_leaves_all_as_it_was(folder: Path, limit: float, eval: list[str]) -> None:
    classifier = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    share = sum(text in UNHEARD for text in eval) / len(eval)
    with tempfile.TemporaryDirectory() as path:
        home = Path(path)
        before = everything(folder, home)
        if share <= limit:
            made = classifier.prune_vocabulary(DATA, eval=eval, max_lost=limit, output_dir=home / "out")
            assert len(made.lost_tokens(eval).touched) == round(share * len(eval))
            shutil.rmtree(home / "out")
        else:
            with pytest.raises(CompressionRefusedError):
                classifier.prune_vocabulary(DATA, eval=eval, max_lost=limit, output_dir=home / "out")
        assert everything(folder, home) == before


def test_the_guard_measures_rows_with_answers(classifier: Any, folder: Path, tmp_path: Path) -> None:
    classes = ("LABEL_0", "LABEL_1")
    rows = [{"text": text, "label": classes[place % 2]} for place, text in enumerate(DATA)]
    made = classifier.prune_vocabulary(DATA, eval=rows, max_drop={"accuracy": 0.0}, output_dir=tmp_path)
    step = made.compressed[-1]
    assert step["max_drop"] == {"accuracy": 0.0}
    accuracy = next(one for one in step["metrics"] if one["name"] == "accuracy")
    assert accuracy["before"] == accuracy["after"]  # no row lost a token
    assert json.loads((tmp_path / "model" / "config.json").read_text())["qefficient"]["compressed"] == [step]
    with pytest.raises(OptionError, match="metric that is not measured"):
        classifier.prune_vocabulary(DATA, eval=rows, max_drop={"spearman": 0.1}, output_dir=tmp_path / "other")
    scores = iter([0.9, 0.5])
    asked: list[Any] = []

    def score(one: Any) -> float:
        asked.append(one)
        return next(scores)

    before = everything(folder)
    with pytest.raises(CompressionRefusedError, match="score: 0.9000 before, 0.5000 after") as caught:
        classifier.prune_vocabulary(
            DATA, eval=DATA, max_drop={"score": 0.3}, score=score, output_dir=tmp_path / "refused"
        )
    assert caught.value.drops[0].value == pytest.approx(0.4)
    assert asked[0] is classifier and type(asked[1]) is type(classifier)
    assert not (tmp_path / "refused").exists() and everything(folder) == before
    with pytest.raises(OptionError, match="score gives no number"):
        classifier.prune_vocabulary(DATA, score=lambda one: "good", output_dir=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("keywords", "error", "what"),
    [
        ({"data": []}, InputError, "no texts"),
        ({"data": [" "]}, InputError, "empty"),
        ({"data": "one text"}, QEfficientError, "one text"),
        ({"data": [3]}, InputError, "not a string"),
        ({"min_count": 0}, OptionError, "min_count"),
        ({"size": 20}, OptionError, "or more"),
        ({"max_lost": 1.5}, OptionError, "max_lost"),
        ({"max_lost": "few"}, OptionError, "max_lost"),
        ({"keep": "a string"}, InputError, "keep is a single string"),
        ({"max_drop": {"accuracy": 0.1}}, OptionError, "not measured"),
        ({"score": 3}, OptionError, "score is no function"),
        ({"columns": "text"}, UsageError, "columns is no mapping"),
        ({"data": [{"text": "a", "body": "b"}], "columns": {"txet": "body"}}, UsageError, "no role 'txet'.*'text'"),
        ({"output_dir": 3}, UsageError, "output_dir is not a string or a path"),
        ({"output_dir": __file__}, OptionError, "output_dir is no folder"),
        ({"task": "text-clasification", "eval": [{"text": "a", "label": 0}]}, UsageError, "text-classification"),
    ],
)
def test_arguments_that_do_not_fit(
    classifier: Any, tmp_path: Path, keywords: dict[str, Any], error: type[Exception], what: str
) -> None:
    given = {"data": DATA, "output_dir": tmp_path / "out", **keywords}
    with pytest.raises(error, match=what):
        classifier.prune_vocabulary(given.pop("data"), **given)
    assert not (tmp_path / "out").exists()


def test_models_without_a_vocabulary_that_could_be_cut(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    for name in ("Canine", "ViT", "CLIP"):  # hashed characters, no words, several parts
        config = getattr(transformers, f"{name}Config")
        other = getattr(transformers, f"{name}Model")(config(**sizes) if name != "CLIP" else small_clip())
        with pytest.raises(UsageError, match="no table with one row a token"):
            tables.find_tables(other)
    module = model("BertModel", KINDS["WordPiece"]().get_vocab_size())
    with pytest.raises(UsageError, match="no tokenizer"):
        QEFFAutoModel(module, pooling="mean").prune_vocabulary(DATA)
    with pytest.raises(UsageError, match="no fast form"):
        QEFFAutoModel(module, pooling="mean").prune_vocabulary(DATA, tokenizer=transformers.CanineTokenizer())
    module.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="folder has no tokenizer"):
        QEFFAutoModel.from_pretrained(tmp_path, pooling="mean").prune_vocabulary(DATA)
    module.embeddings = torch.nn.Sequential(module.embeddings)
    module.embeddings.word_embeddings = module.embeddings[0].word_embeddings

    class Own(torch.nn.Linear):
        pass

    module.pooler.dense = Own(16, 16)
    with pytest.raises(UsageError, match="not transformers' own"):
        QEFFAutoModel(module, pooling="mean").prune_vocabulary(DATA, tokenizer=tokenizer("WordPiece"))


def small_clip() -> Any:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    return transformers.CLIPConfig(
        text_config=sizes | {"vocab_size": 30, "bos_token_id": 0, "eos_token_id": 1},
        vision_config=sizes | {"image_size": 32},
    )


def test_quantized_and_unpruned_models(folder: Path, classifier: Any) -> None:
    with pytest.raises(UsageError, match="not known which tokens"):
        classifier.lost_tokens(DATA)
    classifier._quantized = Quantized("int8", {"compute": "int8"}, ())
    with pytest.raises(UsageError, match="prune first"):
        classifier.prune_vocabulary(DATA)


def test_tables_are_told_by_the_class_itself() -> None:
    """The size of the vocabulary is here that of other layers, too."""
    module = model("BertForMaskedLM", 24, intermediate_size=24, max_position_embeddings=24)
    found = tables.find_tables(module)
    assert found == {
        "bert.embeddings.word_embeddings.weight": 0,
        "cls.predictions.bias": 0,
        "cls.predictions.decoder.weight": 0,
        "cls.predictions.decoder.bias": 0,
    }
    made: Any = tables.cut_tables(module, found, [5, 0, 7], {"pad_token_id": 1})
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight
    assert torch.equal(made.get_input_embeddings().weight, module.get_input_embeddings().weight[[5, 0, 7]])
    assert made.get_input_embeddings().padding_idx == 1 and made.config.vocab_size == 3
    assert made.bert.encoder.layer[0].output.dense.weight is module.bert.encoder.layer[0].output.dense.weight
    assert module.config.vocab_size == 24 and module.get_input_embeddings().num_embeddings == 24
    dense = model("MobileBertForMaskedLM", 24, embedding_size=8, intermediate_size=20, true_hidden_size=8)
    assert tables.find_tables(dense)["cls.predictions.dense.weight"] == 1


def test_a_model_that_was_understood_wrongly_is_not_kept(
    classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tables.cut_tables

    def wrongly(module: Any, found: Any, rows: Any, config: Any) -> Any:
        return cut(module, found, list(reversed(rows)), config)

    monkeypatch.setattr("QEfficient.compress.vocabulary.prune.cut_tables", wrongly)
    with pytest.raises(TransformError, match="other numbers"):
        classifier.prune_vocabulary(DATA, eval=DATA, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
