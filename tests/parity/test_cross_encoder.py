"""``predict`` and ``rank`` against sentence-transformers' CrossEncoder: random weights, real pairs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.errors import InputError, LoadError, OptionError, UsageError
from QEfficient.inference import rerank
from tests.real_text import snippets
from tests.reranker_repos import LIMIT, bert_reranker, pairs, write, xlmr_reranker
from tests.sdk import make_sdk
from tests.unit.test_torch_free import BLOCK, python

IDENTITY = "torch.nn.modules.linear.Identity"
PAIRS = pairs()
SHORT = [(" ".join(a.split()[:9]), " ".join(b.split()[:9])) for a, b in PAIRS[:20]]
CASES = ["bert", "three labels", "xlm-roberta"]
ACTIVATIONS = {
    "sigmoid": torch.nn.Sigmoid(),
    "identity": torch.nn.Identity(),
    "tanh": torch.nn.Tanh(),
    "relu": torch.nn.ReLU(),
    "silu": torch.nn.SiLU(),
    "softplus": torch.nn.Softplus(),
    "logsigmoid": torch.nn.LogSigmoid(),
}


@dataclass(frozen=True)
class Both:
    """One reranker: its folder, sentence-transformers' and ours."""

    folder: Path
    theirs: CrossEncoder
    ours: QEFFAutoModelForSequenceClassification

    def predict(self, pairs: Any, **keywords: Any) -> tuple[Any, Any]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*were shortened, as sentence-transformers does")
            return self.theirs.predict(pairs, **keywords), self.ours.predict(pairs, **keywords)


def make(name: str, folder: Path) -> Path:
    if name == "bert":
        return bert_reranker(folder)  # CrossEncoder's default, sigmoid
    if name == "xlm-roberta":  # regression without activation, as versions 4 and 5 saved it
        return xlmr_reranker(folder, problem_type="regression", sentence_transformers={"activation_fn": IDENTITY})
    plain = bert_reranker(folder / "plain", labels=3)
    saved = CrossEncoder(str(plain), activation_fn=torch.nn.Tanh(), prompts={"q": "find: "})
    saved.save_pretrained(str(folder / "saved"))  # the layout of version 6, with modules.json
    return folder / "saved"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        yield Path()


@pytest.fixture(scope="module")
def all_cases(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    made = {}
    for name in CASES:
        folder = tmp_path_factory.mktemp(name)
        (folder / "plain").mkdir()
        repo = make(name, folder)
        ours = QEFFAutoModelForSequenceClassification.from_pretrained(repo)
        ours.compile(backend="onnxruntime")
        made[name] = Both(repo, CrossEncoder(str(repo), device="cpu"), ours)
    return made


@pytest.fixture(params=CASES)
def both(request: pytest.FixtureRequest, all_cases: dict[str, Both]) -> Both:
    return all_cases[request.param]


@pytest.fixture
def bert(all_cases: dict[str, Both]) -> Both:
    return all_cases["bert"]


@pytest.fixture
def three(all_cases: dict[str, Both]) -> Both:
    return all_cases["three labels"]


def assert_equal(theirs: Any, ours: Any) -> None:
    a, b = np.asarray(theirs), np.asarray(ours)
    assert b.shape == a.shape
    assert b.dtype == a.dtype == np.float32
    assert np.abs(a - b).max() <= 1e-5


# ---------------------------------------------------------------------------------------------- scores


def test_scores_and_order_of_real_pairs(both: Both) -> None:
    theirs, ours = both.predict(PAIRS)
    assert_equal(theirs, ours)
    assert np.unique(theirs.round(4)).size > len(PAIRS) // 2  # the weights tell pairs apart
    columns = theirs.reshape(len(PAIRS), -1).T, ours.reshape(len(PAIRS), -1).T
    for a, b in zip(*columns, strict=True):
        assert (np.argsort(-a, kind="stable") == np.argsort(-b, kind="stable")).all()


def test_overlong_pairs_are_shortened_with_one_warning_that_counts_them(both: Both) -> None:
    tokenizer = both.theirs.tokenizer
    count = sum(len(ids) > LIMIT for ids in tokenizer(PAIRS, truncation=False, verbose=False)["input_ids"])
    assert count > 10
    with pytest.warns(UserWarning, match=f"^{count} of {len(PAIRS)} pairs were longer than {LIMIT} tokens") as caught:
        both.ours.predict(PAIRS)
    assert [Path(one.filename) for one in caught] == [Path(__file__)]
    with pytest.raises(InputError, match="longer than"):
        both.ours.predict(PAIRS, overlong="error")


def test_token_types_matter(bert: Both) -> None:
    tokens = bert.theirs.tokenizer(PAIRS[:8], padding=True, return_tensors="np")
    ids = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    without = bert.ours.generate({**ids, "token_type_ids": np.zeros_like(ids["input_ids"])})["logits"]
    with_types = bert.ours.generate({**ids, "token_type_ids": tokens["token_type_ids"]})["logits"]
    assert np.abs(without - with_types).max() > 0.1
    assert_equal(bert.ours.predict(PAIRS[:8], activation_fn="identity"), with_types[:, 0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_by_name_is_torch_s(both: Both, name: str) -> None:
    theirs = both.theirs.predict(SHORT, activation_fn=ACTIVATIONS[name])
    assert_equal(theirs, both.ours.predict(SHORT, activation_fn=name))
    path = f"{type(ACTIVATIONS[name]).__module__}.{type(ACTIVATIONS[name]).__name__}"
    assert_equal(theirs, both.ours.predict(SHORT, activation_fn=path))


@pytest.mark.parametrize("function", [torch.nn.Sigmoid(), torch.sigmoid, lambda x: x / 3, torch.nn.Softsign()])
def test_a_function_of_the_caller_s_gets_a_tensor(both: Both, function: Any) -> None:
    assert_equal(*both.predict(SHORT, activation_fn=function))


def test_softmax(three: Both, bert: Both) -> None:
    theirs, ours = three.predict(PAIRS, apply_softmax=True)
    assert_equal(theirs, ours)
    assert np.abs(ours.sum(1) - 1).max() <= 1e-6
    assert_equal(*three.predict(PAIRS, apply_softmax=True, activation_fn=torch.nn.Identity()))
    assert_equal(*bert.predict(PAIRS, apply_softmax=True))  # one label: nothing to scale


def test_a_prompt_goes_before_the_first_text(three: Both) -> None:
    plain, prompted = three.ours.predict(SHORT[:9]), three.ours.predict(SHORT[:9], prompt_name="q")
    assert np.abs(plain - prompted).max() > 0.01
    assert_equal(three.theirs.predict(SHORT[:9], prompt_name="q"), prompted)
    assert_equal(three.theirs.predict(SHORT[:9], prompt="find: "), prompted)
    with pytest.raises(UsageError, match="no prompt of this name"):
        three.ours.predict(SHORT[:9], prompt_name="query")


def test_a_shorter_limit(both: Both) -> None:
    with pytest.warns(UserWarning, match="were longer than 24 tokens"):
        ours = both.ours.predict(PAIRS, max_length=24)
    assert_equal(both.theirs.predict(PAIRS, max_length=24), ours)


def test_containers_and_single_inputs_are_those_of_cross_encoder(both: Both) -> None:
    first = SHORT[0]
    for inputs in ([first, SHORT[1]], [list(first)], (first, SHORT[1]), first, list(first), np.array(first), "a text"):
        for keywords in ({}, {"convert_to_tensor": True}, {"convert_to_numpy": False}):
            theirs, ours = both.predict(inputs, **keywords)
            assert type(theirs) is type(ours)
            if isinstance(theirs, list):
                assert all(isinstance(score, torch.Tensor) for score in ours)
                theirs, ours = torch.stack(theirs), torch.stack(ours)
            assert_equal(theirs, ours)
    assert both.ours.predict([]).shape == ((0, 3) if both.theirs.num_labels == 3 else (0,))


# ---------------------------------------------------------------------------------------------- rank


@pytest.mark.parametrize("keywords", [{}, {"top_k": 5}, {"return_documents": True}, {"top_k": 999}], ids=str)
@pytest.mark.parametrize("name", ["bert", "xlm-roberta"])
def test_rank(all_cases: dict[str, Both], name: str, keywords: dict[str, Any]) -> None:
    both, documents = all_cases[name], [" ".join(text.split()[:20]) for text in snippets(60)]
    documents.insert(7, documents[0])  # a tie, bit for bit
    query = "A film that is worth its price"
    theirs, ours = (model.rank(query, documents, **keywords) for model in (both.theirs, both.ours))
    assert [one["corpus_id"] for one in theirs] == [one["corpus_id"] for one in ours]
    assert [one.get("text") for one in theirs] == [one.get("text") for one in ours]
    assert [list(one) for one in theirs] == [list(one) for one in ours]
    assert all(type(one["score"]) is float for one in ours)
    assert max(abs(a["score"] - b["score"]) for a, b in zip(theirs, ours, strict=True)) <= 1e-5
    assert both.ours.rank("a query", []) == both.theirs.rank("a query", []) == []


# ---------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "inputs", [["one"], [["a"]], [["a", "b", "c"]], ["a", "b", "c"], ["a", None], [["a", 1]], None, {"a": "b"}, 5]
)
def test_what_is_no_pair_is_refused(bert: Both, inputs: Any) -> None:
    with pytest.raises(InputError, match="pair"):
        bert.ours.predict(inputs)


def test_what_rank_can_t_do_is_refused(bert: Both, three: Both) -> None:
    with pytest.raises(UsageError, match="one label"):
        three.ours.rank("a", ["b"])
    with pytest.raises(InputError, match="documents is a single string"):
        bert.ours.rank("a", "b")
    with pytest.raises(InputError, match="Row 1 is not a string"):
        bert.ours.rank("a", ["b", None])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="top_k"):
        bert.ours.rank("a", ["b"], top_k=-1)


def test_an_activation_that_is_not_known_is_refused(bert: Both) -> None:
    with pytest.raises(UsageError, match="Did you mean 'sigmoid'"):
        bert.ours.predict(SHORT[:2], activation_fn="sigmoit")
    with pytest.raises(UsageError, match="gave no scores"):
        bert.ours.predict(SHORT[:2], activation_fn=torch.mean)


def test_a_saved_activation_that_is_not_known_is_refused_not_ignored(bert: Both) -> None:
    ready = bert.ours._need_loaded()
    facts = replace(ready.text, activation="somebody.of.Theirs")
    with pytest.raises(UsageError, match="not known by name") as caught:
        rerank.predict(ready, facts, SHORT[:2], rerank.PredictArgs())
    assert "somebody.of.Theirs" in str(caught.value)
    scores = rerank.predict(ready, facts, SHORT[:2], rerank.PredictArgs(activation_fn="sigmoid"))
    assert_equal(bert.theirs.predict(SHORT[:2]), scores)


def test_pairs_for_a_chat_template_are_refused(bert: Both) -> None:
    """CrossEncoder writes each pair through the template: other tokens, other scores."""
    ready = bert.ours._need_loaded()
    with pytest.raises(UsageError, match="chat template"):
        rerank.predict(ready, replace(ready.text, chat=True), SHORT[:2], rerank.PredictArgs())


def test_generative_rerankers_are_refused_by_name(tmp_path: Path) -> None:
    plain, modules = tmp_path / "plain", tmp_path / "modules"
    for folder in (plain, modules):
        folder.mkdir()
        write(folder / "config.json", {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]})
    kinds = ("base.modules.transformer.Transformer", "cross_encoder.modules.logit_score.LogitScore")
    entries = [
        {"idx": i, "name": str(i), "path": ["", "1_LogitScore"][i], "type": f"sentence_transformers.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (modules / "modules.json").write_text(json.dumps(entries))
    write(modules / "config_sentence_transformers.json", {"model_type": "CrossEncoder"})
    write(modules / "sentence_bert_config.json", {"transformer_task": "text-generation"})
    for folder in (plain, modules):
        with pytest.raises(LoadError, match="generative reranker"):
            QEFFAutoModelForSequenceClassification.from_pretrained(folder)


def test_a_head_of_further_modules_is_refused(three: Both, tmp_path: Path) -> None:
    for name in ("config.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (tmp_path / name).write_text((three.folder / name).read_text())
    entries = json.loads((three.folder / "modules.json").read_text())
    entries.append({"idx": 1, "name": "1", "path": "1_Dense", "type": "sentence_transformers.base.modules.dense.Dense"})
    (tmp_path / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(LoadError, match="not the plain logits") as caught:
        QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert "Transformer, Dense" in str(caught.value)


# ---------------------------------------------------------------------------------------------- saved, and on a card


def test_a_saved_program_predicts_without_torch(both: Both, tmp_path: Path) -> None:
    both.ours.save_pretrained(tmp_path / "saved")
    script = """
import json, sys
import numpy as np
from QEfficient import QEFFAutoModelForSequenceClassification
model = QEFFAutoModelForSequenceClassification.from_pretrained(sys.argv[1])
scores = model.predict(json.load(open(sys.argv[2])))
np.save(sys.argv[3], scores)
if scores.ndim == 1:
    assert model.rank("a query", ["a text", "another"], return_documents=True)[0]["text"]
"""
    write(tmp_path / "pairs.json", SHORT)  # type: ignore[arg-type]
    arguments = (tmp_path / "saved", tmp_path / "pairs.json", tmp_path / "scores.npy")
    assert not python(BLOCK + script, *arguments, home=tmp_path / "empty")
    # not to the last bit: with other CPUs batches are others, and a batch's first tokens are multiplied together
    assert np.allclose(np.load(tmp_path / "scores.npy"), both.ours.predict(SHORT), rtol=0, atol=1e-6)


def test_the_card_s_scores_are_close(bert: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk").root))
    model = QEFFAutoModelForSequenceClassification.from_pretrained(bert.folder)
    model.compile(backend="qaic", seq_len=[64, LIMIT], batch_size=4)
    assert model.device_report()["backend"] == "qaic"
    with pytest.warns(UserWarning, match="were shortened"):
        scores = model.predict(PAIRS)
    assert 0 < np.abs(scores - bert.theirs.predict(PAIRS)).max() <= 5e-3
