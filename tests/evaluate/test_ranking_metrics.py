"""Rankings beside ir-measures (trec_eval) and the evaluators of sentence-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.ranking import ranked
from QEfficient.evaluate.record import Outcome

CLOSE = 1e-9
NAMES = ("ndcg@10", "ndcg@3", "ndcg", "recall@3", "recall@100", "map", "map@5", "precision@3", "mrr")


def per_query(right: list[dict[Any, int]], answered: list[dict[Any, float]], names: tuple[str, ...]) -> np.ndarray:
    outcome = Outcome("retrieval", right, answered)
    return np.stack([metric.each(outcome) for metric in metrics_of("retrieval", names)])


def by_ir_measures(right: list[dict[str, int]], answered: list[dict[str, float]], names: tuple[str, ...]) -> np.ndarray:
    import ir_measures

    theirs = {"ndcg": "nDCG", "recall": "R", "map": "AP", "precision": "P", "mrr": "RR"}
    measures = [ir_measures.parse_measure(theirs[n.partition("@")[0]] + "".join(n.partition("@")[1:])) for n in names]
    found = np.zeros((len(names), len(right)))
    grades = {f"q{row}": one for row, one in enumerate(right)}
    scores = {f"q{row}": one for row, one in enumerate(answered)}
    for value in ir_measures.iter_calc(measures, grades, scores):
        found[measures.index(value.measure), int(value.query_id[1:])] = value.value
    return found


documents = st.sampled_from([f"d{place}" for place in range(14)])
queries = st.lists(
    st.tuples(
        st.dictionaries(documents, st.integers(0, 3), min_size=1, max_size=8),
        st.dictionaries(documents, st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=14),
    ),
    min_size=1,
    max_size=5,
)


@given(queries)
@settings(max_examples=80, deadline=None)
def test_as_ir_measures_with_ties(rows: list[tuple[dict[str, int], dict[str, float]]]) -> None:
    right, answered = [one for one, _ in rows], [other for _, other in rows]
    np.testing.assert_allclose(
        per_query(right, answered, NAMES), by_ir_measures(right, answered, NAMES), rtol=0, atol=CLOSE
    )


@given(queries)
@settings(max_examples=40, deadline=None)
def test_mrr_with_k_as_ir_measures_of_rankings_in_trec_evals_order(rows: Any) -> None:
    # ir-measures computes RR@k with a provider that leaves ties as they come; they come in trec_eval's order here
    right = [one for one, _ in rows]
    answered = [{name: -float(place) for place, name in enumerate(ranked(other))} for _, other in rows]
    names = ("mrr@10", "mrr@2")
    np.testing.assert_allclose(
        per_query(right, answered, names), by_ir_measures(right, answered, names), rtol=0, atol=CLOSE
    )


def test_documents_without_a_grade_below_zero_and_unranked() -> None:
    assert per_query([{"a": 1, "b": -1}], [{"b": 2.0, "c": 1.5, "a": 1.0}], ("mrr", "map", "recall@2")).tolist() == [
        [1 / 3],
        [1 / 3],
        [0.0],
    ]
    assert per_query([{"a": 1}, {"a": 0}], [{}, {"a": 1.0}], ("ndcg@10", "recall@100")).tolist() == [[0, 0], [0, 0]]


def test_documents_that_are_ruled_out_come_last_by_name() -> None:
    never = -float("inf")
    assert ranked({0: never, 1: 0.5, 2: never, 3: 0.7}) == [3, 1, 2, 0]


def test_a_ranking_by_nan_has_no_figure() -> None:
    found = per_query([{0: 1}, {0: 1}], [{0: float("nan"), 1: 1.0}, {0: 1.0}], ("ndcg@10",))
    assert np.isnan(found[0, 0]) and found[0, 1] == 1.0
    [metric] = metrics_of("retrieval", ["ndcg@10"])
    assert np.isnan(metric.value(Outcome("retrieval", [{0: 1}], [{0: float("nan")}])))


# --------------------------------------------------------------------------------------- sentence-transformers


class Vectors:
    """What sentence-transformers' evaluators ask of a model, with vectors that are given."""

    similarity_fn_name = None

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        from sentence_transformers.base.model_card import BaseModelCardData

        self.vectors = vectors
        self.model_card_data = BaseModelCardData()

    def encode(self, inputs: list[str] | str, **_: Any) -> Any:
        import torch

        if isinstance(inputs, str):
            return torch.from_numpy(self.vectors[inputs])
        return torch.from_numpy(np.stack([self.vectors[text] for text in inputs]))

    encode_query = encode_document = encode

    def similarity(self, first: Any, second: Any) -> Any:
        from sentence_transformers.util import cos_sim

        return cos_sim(first, second)

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        from sentence_transformers.util import pairwise_cos_sim

        return pairwise_cos_sim(first, second)


@pytest.fixture(scope="module")
def model() -> Vectors:
    rng = np.random.default_rng(3)
    return Vectors({f"{kind}{place}": rng.normal(size=8) for kind in "qd" for place in range(40)})


def cosines(model: Vectors, query: str, texts: list[str]) -> dict[str, float]:
    return dict(zip(texts, model.similarity(model.encode([query]), model.encode(texts))[0].tolist(), strict=True))


def test_similarity_as_sentence_transformers(model: Vectors) -> None:
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    first, second = ([f"{kind}{place}" for place in range(40)] for kind in "qd")
    right = np.random.default_rng(0).random(40).round(1)
    theirs = EmbeddingSimilarityEvaluator(first, second, right.tolist(), main_similarity="cosine", write_csv=False)(
        model
    )
    answered = model.similarity_pairwise(model.encode(first), model.encode(second)).numpy()
    spearman, pearson = (one.value(Outcome("similarity", right, answered)) for one in metrics_of("similarity"))
    assert spearman == pytest.approx(theirs["spearman_cosine"], abs=CLOSE)
    assert pearson == pytest.approx(theirs["pearson_cosine"], abs=CLOSE)


def test_retrieval_as_sentence_transformers(model: Vectors) -> None:
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.util import cos_sim

    rng = np.random.default_rng(1)
    queries = {f"q{place}": f"q{place}" for place in range(40)}
    corpus = {f"d{place}": f"d{place}" for place in range(40)}
    relevant = {name: {f"d{place}" for place in rng.choice(40, rng.integers(1, 6), False)} for name in queries}
    evaluator = InformationRetrievalEvaluator(
        queries,
        corpus,
        relevant,
        mrr_at_k=[10],
        ndcg_at_k=[10],
        accuracy_at_k=[1],
        precision_recall_at_k=[5, 20],
        map_at_k=[40],
        write_csv=False,
        score_functions={"cosine": cos_sim},
    )
    theirs = evaluator(model)
    outcome = Outcome(
        "retrieval",
        [dict.fromkeys(relevant[name], 1) for name in queries],
        [cosines(model, name, list(corpus)) for name in queries],
    )
    for name in ("ndcg@10", "mrr@10", "recall@5", "recall@20", "precision@5", "map@40"):
        [metric] = metrics_of("retrieval", [name])
        assert metric.value(outcome) == pytest.approx(theirs[f"cosine_{name}"], abs=CLOSE), name


def test_reranking_as_sentence_transformers(model: Vectors) -> None:
    from sentence_transformers.sentence_transformer.evaluation import RerankingEvaluator

    rng = np.random.default_rng(2)
    samples = []
    for place in range(40):
        chosen = [f"d{number}" for number in rng.permutation(40)[:15]]
        samples.append({"query": f"q{place}", "positive": chosen[:3], "negative": chosen[3:]})
    theirs = RerankingEvaluator(samples, at_k=10, write_csv=False)(model)
    outcome = Outcome(
        "reranking",
        [dict.fromkeys(one["positive"], 1) for one in samples],
        [cosines(model, one["query"], one["positive"] + one["negative"]) for one in samples],
    )
    for name in ("map", "mrr@10", "ndcg@10"):
        [metric] = metrics_of("reranking", [name])
        assert metric.value(outcome) == pytest.approx(theirs[name], abs=CLOSE), name
