"""``prune`` of the Auto classes: what comes of it, its recovery, its guard, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
)

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.errors import CompressionRefusedError, InputError, OptionError, UsageError
from QEfficient.source.identity import tensors_digest
from tests.tiny_repo import tiny_repo
from tests.train import small

ROWS = {"text": small.TEXTS, "label": small.LABELS}
FEW = {name: values[:12] for name, values in ROWS.items()}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with random weights whose answers differ from text to text."""
    folder = tiny_repo(tmp_path_factory.mktemp("classifier"))
    for name in ("modules.json", "sentence_bert_config.json", "model.safetensors", "config.json"):
        (folder / name).unlink()
    torch.manual_seed(0)
    names = {0: "negative", 1: "positive"}
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("embedder"))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        yield


def load(folder: Path) -> QEFFAutoModelForSequenceClassification:
    return QEFFAutoModelForSequenceClassification.from_pretrained(folder)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def own_labels(folder: Path, texts: list[str]) -> list[str]:
    """The model's own labels of texts: it is right about all of them."""
    module = BertForSequenceClassification.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return [module.config.id2label[int(one)] for one in module(**tokens).logits.argmax(-1)]


def test_a_classifier_gets_narrower_and_says_how(classifier: Path, tmp_path: Path) -> None:
    model = load(classifier)
    before = everything(classifier)
    pruned = model.prune(0.3, data=ROWS, eval=FEW, block=8, output_dir=tmp_path / "out")
    assert type(pruned) is type(model) and everything(classifier) == before
    [step] = pruned.compressed
    assert model.compressed == [] and step["step"] == "prune"
    made = step["made"]
    assert 0.3 <= made["share_of_encoder"] < 0.42
    sizes = [sum(weight.numel() for weight in one.model.parameters()) for one in (model, pruned)]
    assert made["parameters"] == sizes
    assert made["share_of_model"] == pytest.approx(1 - sizes[1] / sizes[0], abs=1e-4)
    assert [len(made["heads"]), len(made["feed_forward"])] == [3, 3]
    assert all(width % 8 == 0 for width in made["feed_forward"])
    assert step["data"]["data"]["rows"] == 40 and step["data"]["eval"]["rows"] == 12
    assert [one["name"] for one in step["metrics"]] == ["accuracy", "macro_f1"]
    again = load(tmp_path / "out" / "model")
    assert again.compressed == pruned.compressed
    assert tensors_digest(again.model) == tensors_digest(pruned.model)


def test_the_same_call_gives_the_same_model(classifier: Path) -> None:
    first, second = (load(classifier).prune(0.2, data=ROWS, block=8, seed=3) for _ in range(2))
    assert first.name_or_path == second.name_or_path  # found by what decides it
    assert tensors_digest(first.model) == tensors_digest(second.model)


@pytest.mark.slow
def test_it_exports_verifies_and_runs_as_torch_has_it(classifier: Path, tmp_path: Path) -> None:
    pruned = load(classifier).prune(0.3, data=ROWS, block=8, output_dir=tmp_path)
    pruned.compile(seq_len=64)
    scores = np.stack([pruned.predict(text) for text in small.TEXTS[:4]])
    tokens = AutoTokenizer.from_pretrained(classifier)(small.TEXTS[:4], padding=True, return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_allclose(scores, pruned.model(**tokens).logits, atol=1e-4)
    assert pruned.device_report()["compressed"] == pruned.compressed
    pruned.verify()


def test_texts_without_labels_are_enough(classifier: Path, embedder: Path, tmp_path: Path) -> None:
    pruned = load(classifier).prune(0.2, data=small.TEXTS, block=8, output_dir=tmp_path / "scores")
    assert pruned.compressed[0]["made"]["share_of_encoder"] >= 0.2
    vectors = QEFFAutoModel.from_pretrained(embedder, pooling="auto")
    narrow = vectors.prune(0.2, data=small.TEXTS, block=8, output_dir=tmp_path / "vectors")
    assert narrow.compressed[0]["made"]["share_of_encoder"] >= 0.2
    assert narrow._head.steps == vectors._head.steps


SMALL = {"vocab_size": 30522, "num_labels": 2, "pad_token_id": 0}
FAMILIES: dict[str, dict[str, Any]] = {
    "roberta": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "qwen2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_too(family: str, classifier: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL, **FAMILIES[family])
    module = AutoModelForSequenceClassification.from_config(config)
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    rows = {"text": small.TEXTS, "label": [0, 1] * 20}
    model = QEFFAutoModelForSequenceClassification(module)
    pruned = model.prune(0.3, data=rows, block=8, tokenizer=tokenizer, recover={"max_steps": 2}, output_dir=tmp_path)
    [step] = pruned.compressed
    assert 0.3 <= step["made"]["share_of_encoder"] < 0.45
    assert min(step["made"]["heads"]) >= 1 and sum(step["made"]["feed_forward"]) < 128
    tokens = tokenizer(small.TEXTS[:3], padding=True, return_tensors="pt")
    with torch.inference_mode():
        found = load(tmp_path / "model").model(tokens["input_ids"], tokens["attention_mask"]).logits
        torch.testing.assert_close(found, pruned.model(tokens["input_ids"], tokens["attention_mask"]).logits)


def test_only_what_may_go_goes(classifier: Path) -> None:
    made = load(classifier).prune(0.1, feed_forward=False, data=ROWS).compressed[0]["made"]
    assert made["feed_forward"] == [64] * 3 and min(made["heads"]) < 4
    made = load(classifier).prune(0.1, heads=False, block=8, data=ROWS).compressed[0]["made"]
    assert made["heads"] == [4] * 3 and min(made["feed_forward"]) < 64


def test_steps_follow_each_other(classifier: Path, tmp_path: Path) -> None:
    model = load(classifier)
    once = model.prune(0.2, data=ROWS, block=8, output_dir=tmp_path / "once")
    fewer = once.prune(layers=2, data=ROWS, output_dir=tmp_path / "fewer")
    last = fewer.prune(0.2, data=small.TEXTS, block=8, recover={"max_steps": 2}, output_dir=tmp_path / "last")
    assert [step["step"] for step in last.compressed] == ["prune"] * 3
    sizes = [step["made"]["parameters"] for step in last.compressed]
    assert sizes[0][1] == sizes[1][0] and sizes[1][1] == sizes[2][0] and sizes[2][0] > sizes[2][1]
    last.fine_tune(ROWS, max_steps=1, output_dir=tmp_path / "trained")
    assert [step["step"] for step in last.compressed] == ["prune"] * 3
    assert sum(weight.numel() for weight in last.model.parameters()) == sizes[2][1]


@pytest.mark.parametrize("layers", [2, [0, 2]])
def test_whole_layers_go(layers: Any, classifier: Path) -> None:
    pruned = load(classifier).prune(layers=layers, data=ROWS)
    made = pruned.compressed[0]["made"]
    assert len(made["layers"]) == pruned.config.num_hidden_layers == 2
    assert made["share_of_encoder"] == pytest.approx(1 / 3, abs=1e-3)
    if layers != 2:
        assert made["layers"] == layers


@pytest.mark.parametrize("layers", [3, [0, 1, 2]])
def test_all_layers_are_nothing_to_prune(classifier: Path, layers: int | list[int], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="all the layers"):
        load(classifier).prune(layers=layers, data=ROWS, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_it_recovers_and_goes_on_where_it_was_broken_off(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"max_steps": 6, "save_steps": 2, "batch_size": 8, "learning_rate": 1e-3}

    def run(name: str, **more: Any) -> Any:
        return load(classifier).prune(
            0.4, data=ROWS, eval=FEW, block=8, recover={**how, **more}, output_dir=tmp_path / name
        )

    whole = run("whole")
    made = whole.compressed[0]["made"]
    assert made["recovery"]["steps"] == 6 and set(made["recovery"]["before"]) == {"accuracy", "macro_f1"}
    assert whole.trained is not None and whole.trained["steps"] == 6
    step, taken = torch.optim.AdamW.step, []

    def interrupted(self: Any, *args: Any, **keywords: Any) -> Any:
        taken.append(1)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return step(self, *args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("broken")
    assert (tmp_path / "broken" / "checkpoint-2").is_dir() and not (tmp_path / "broken" / "model").exists()
    resumed = run("broken", resume=True)
    assert tensors_digest(resumed.model) == tensors_digest(whole.model)


@pytest.mark.slow
def test_vectors_recover(embedder: Path, tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(embedder, pooling="auto")
    how = {"max_steps": 20, "batch_size": 8, "learning_rate": 2e-3}
    pairs = small.scored_pairs()
    pruned = model.prune(0.3, data=small.TEXTS, eval=pairs, block=8, recover=how, output_dir=tmp_path)
    assert [one["name"] for one in pruned.compressed[0]["metrics"]] == ["spearman", "pearson"]
    pruned.compile(seq_len=64)
    model.compile(seq_len=64)
    cut = model.prune(0.3, data=small.TEXTS, block=8, output_dir=tmp_path / "cut")
    cut.compile(seq_len=64)
    own = model.encode(small.TEXTS)
    near = [float((one.encode(small.TEXTS) * own).sum(axis=1).mean()) for one in (cut, pruned)]
    assert near[1] > near[0]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.floats(0, 1), known=st.booleans(), recovers=st.booleans())
def test_a_guard_that_is_exceeded_leaves_everything_as_it_was(
    limit: float, known: bool, recovers: bool, classifier: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, home = tmp_path_factory.mktemp("out") / "run", tmp_path_factory.mktemp("guarded")
    if known:
        folder.mkdir()
        (folder / "mine.txt").write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        model = load(classifier)
        digest = tensors_digest(model.model)
        scores = iter([0.5, 0.5 - limit])
        asked = {"data": FEW, "block": 8, "output_dir": folder, "score": lambda module: next(scores)}
        if recovers:
            scores = iter([0.5, 0.9, 0.5 - limit])
            asked["recover"] = {"max_steps": 1, "batch_size": 4}
        try:
            pruned = model.prune(0.3, max_drop={"score": 0.25}, **asked)
        except CompressionRefusedError as error:
            assert 0.5 - (0.5 - limit) > 0.25 and error.drops[0].name == "score"
            assert everything(folder.parent) == ({"run/mine.txt": b"kept"} if known else {})
            assert folder.exists() == known
        else:
            assert 0.5 - (0.5 - limit) <= 0.25 and pruned.compressed[0]["max_drop"] == {"score": 0.25}
            assert (folder / "model" / "config.json").is_file()
        assert tensors_digest(model.model) == digest and model.compressed == []
        assert everything(home) == {}


def test_limits_of_metrics_are_held(classifier: Path, tmp_path: Path) -> None:
    right = {"text": small.TEXTS, "label": own_labels(classifier, small.TEXTS)}
    asked: dict[str, Any] = {"data": ROWS, "eval": right, "block": 8, "output_dir": tmp_path / "out"}
    with pytest.raises(CompressionRefusedError, match="accuracy: 1.0000 before") as caught:
        load(classifier).prune(0.7, max_drop={"accuracy": 0.0}, **asked)
    assert {one.name for one in caught.value.drops} == {"accuracy", "macro_f1"}
    assert not (tmp_path / "out").exists()


def test_what_can_not_be_done_is_said_before_anything_is_written(classifier: Path, tmp_path: Path) -> None:
    model = load(classifier)
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (UsageError, "how much is to go", {}),
        (UsageError, "how much is to go", {"share": 0.2, "layers": 2}),
        (OptionError, "can't be pruned", {"share": 0}),
        (OptionError, "can't be pruned", {"share": 1}),
        (OptionError, "can't be pruned", {"share": float("nan")}),
        (OptionError, "at most", {"share": 0.99}),
        (OptionError, "no such layers", {"layers": 0}),
        (OptionError, "no such layers", {"layers": [0, 9]}),
        (OptionError, "heads says", {"share": 0.2, "heads": 0}),
        (OptionError, "Nothing is left", {"share": 0.2, "heads": False, "feed_forward": False}),
        (OptionError, "block", {"share": 0.2, "block": 0}),
        (OptionError, "max_drop", {"share": 0.2, "max_drop": {"accuracy": 0.1}}),
        (OptionError, "max_drop", {"share": 0.2, "eval": FEW, "max_drop": {"spearman": 0.1}}),
        (OptionError, "keyword of prune itself", {"share": 0.2, "recover": {"output_dir": "x"}}),
        (OptionError, "no keyword 'epoch'", {"share": 0.2, "recover": {"epoch": 1}}),
        (OptionError, "no recovery", {"share": 0.2, "recover": 3}),
        (OptionError, "score", {"share": 0.2, "score": 3}),
        (OptionError, "seed", {"share": 0.2, "seed": -1}),
        (OptionError, "output_dir", {"share": 0.2, "output_dir": classifier / "config.json"}),
        (InputError, "no texts", {"share": 0.2, "data": []}),
        (InputError, "none of the model's", {"share": 0.2, "data": {"text": ["a", "b"], "label": ["odd", "even"]}}),
    ]
    for error, said, given_ in cases:
        with pytest.raises(error, match=said):
            model.prune(**{"data": ROWS, "output_dir": tmp_path / "out", **given_})
    assert not (tmp_path / "out").exists()


def test_layers_that_are_named_need_no_units(tmp_path: Path) -> None:
    """Nothing of SqueezeBERT's layers can be cut but they themselves: its products are convolutions."""
    model = QEFFAutoModelForSequenceClassification(
        AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model(
                "squeezebert",
                hidden_size=32,
                embedding_size=32,
                num_hidden_layers=3,
                num_attention_heads=4,
                intermediate_size=64,
            )
        )
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_repo(tmp_path / "repo"))
    with pytest.raises(UsageError, match=r"name whole layers to keep instead, such as layers=\[0, 2\]"):
        model.prune(0.3, data=small.TEXTS, tokenizer=tokenizer)
    pruned = model.prune(layers=[0, 2], data=small.TEXTS, tokenizer=tokenizer, output_dir=tmp_path / "out")
    made = pruned.compressed[0]["made"]
    assert made["layers"] == [0, 2] and made["share_of_encoder"] == pytest.approx(1 / 3, abs=1e-4)
    assert load(tmp_path / "out" / "model").config.num_hidden_layers == 2
