"""Several evaluations side by side: every number that is shown is one of the records'."""

import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from QEfficient.errors import UsageError
from QEfficient.evaluate.comparison.alignment import aligned
from QEfficient.evaluate.comparison.compared import changed_rows, compare_evaluations, distinct
from QEfficient.evaluate.comparison.disagreement import disagreements
from QEfficient.evaluate.comparison.pareto import pareto_front
from QEfficient.evaluate.comparison.record import Measured, ModelComparison
from QEfficient.evaluate.drawn import words
from QEfficient.evaluate.drawn.printed import WIDTH
from QEfficient.evaluate.metrics.catalogue import metrics_of
from QEfficient.evaluate.metrics.significance import difference, holm
from QEfficient.evaluate.record import Examples, MetricValue, Outcome
from tests.evaluate.made_up import EVIL, NAMES, comparison, evaluation, examples, outcome, speed


@pytest.fixture(scope="module")
def four() -> ModelComparison:
    return comparison()


# ----------------------------------------------------------------------------------------------- the numbers


def test_differences_are_those_of_the_pair_and_p_is_holms(four: ModelComparison) -> None:
    outcomes = [outcome(place + 1, wrong) for place, wrong in enumerate((0.2, 0.2, 0.24, 0.3))]
    for metric in metrics_of("text-classification"):
        alone = [difference(metric, outcomes[0], one, resamples=four.resamples, seed=four.seed) for one in outcomes[1:]]
        adjusted = holm([one.p for one in alone])
        for model, one, p in zip(four.models[1:], alone, adjusted, strict=True):
            assert model.differences[metric.name] == one
            assert model.adjusted[metric.name] == pytest.approx(p)
            assert one.value == pytest.approx(
                metric.value(outcomes[four.models.index(model)]) - metric.value(outcomes[0])
            )
    assert four.models[0].differences == {} and four.models[0].gained is None


def test_changed_rows_are_counted_both_ways(four: ModelComparison) -> None:
    right, first = outcome(1, 0.2).right, outcome(1, 0.2).given
    for place, wrong in ((1, 0.2), (2, 0.24), (3, 0.3)):
        mine = outcome(place + 1, wrong).given
        assert four.models[place].gained == sum((first != right) & (mine == right))
        assert four.models[place].lost == sum((first == right) & (mine != right))


def test_tasks_without_right_rows_count_no_changes() -> None:
    numbers = Outcome("regression", np.arange(4.0), np.arange(4.0) + 1)
    assert changed_rows(numbers, numbers) is None


def test_answers_to_questions_and_sentences_of_entities_are_right_or_wrong() -> None:
    asked = [Outcome("question-answering", [["a cat"], []], given) for given in (["The cat.", "no"], ["dog", ""])]
    assert changed_rows(*asked) == (1, 1)
    tagged = [
        Outcome("token-classification", [["B-X", "O"], ["O", "O"]], given)
        for given in ([["B-X", "O"], ["B-X", "O"]], [["B-X", "O"], ["O", "O"]])
    ]
    assert changed_rows(*tagged) == (1, 0)


def test_taggers_without_iob2_are_compared_by_what_was_measured() -> None:
    evaluations = [
        dataclasses.replace(
            evaluation(1, name=name),
            task="token-classification",
            metrics=(MetricValue("accuracy", 0.5, 0.4, 0.6),),
            outcome=Outcome("token-classification", [["NOUN", "VERB"], ["X", "X"]], given),
        )
        for name, given in (("one", [["NOUN", "X"], ["X", "X"]]), ("other", [["NOUN", "VERB"], ["X", "NOUN"]]))
    ]
    found = compare_evaluations(evaluations).models[1]
    assert (found.gained, found.lost) == (1, 1)
    assert changed_rows(outcome(1, 0.2), outcome(2, 0.2), ["macro_f1"]) is None


def test_a_row_whose_scores_are_nan_is_not_right() -> None:
    whole = outcome(1, 0.0)
    assert whole.scores is not None
    broken = dataclasses.replace(whole, scores=np.full_like(whole.scores, np.nan))
    assert changed_rows(whole, broken) == (0, len(whole))


def test_confusion_counts_every_row(four: ModelComparison) -> None:
    for place, wrong in enumerate((0.2, 0.2, 0.24, 0.3)):
        one = outcome(place + 1, wrong)
        counts = four.models[place].confusion
        assert counts is not None
        for right in range(3):
            for answered in range(3):
                assert counts[right, answered] == sum((one.right == right) & (one.given == answered))


def test_one_model_alone_has_no_differences() -> None:
    alone = comparison(1)
    assert len(alone) == 1 and alone.disagreements == ()
    assert "difference" not in str(alone).lower()


def test_records_that_hold_arrays_can_be_compared_and_hashed(four: ModelComparison) -> None:
    for one, other in ((four, comparison()), (four.models[0], comparison().models[0]), (evaluation(), evaluation())):
        assert one == one and one != other
        assert len({one, other}) == 2
    assert outcome(1, 0.2) != outcome(1, 0.2) and examples() != examples()


# ------------------------------------------------------------------------------------------ what is refused


def test_other_data_is_refused() -> None:
    other = dataclasses.replace(evaluation(2, name="other"), digest="cd" * 32)
    with pytest.raises(UsageError, match=r"other was evaluated with other data than tiny(.|\n)*cdcdcdcdcdcdcdcd"):
        compare_evaluations([evaluation(1), other])


def test_other_tasks_and_metrics_are_refused() -> None:
    other = dataclasses.replace(evaluation(2), task="image-classification")
    with pytest.raises(UsageError, match=r"other task(.|\n)*image-classification"):
        compare_evaluations([evaluation(1), other])
    fewer = dataclasses.replace(evaluation(2), metrics=evaluation(2).metrics[:1])
    with pytest.raises(UsageError, match=r"other metrics(.|\n)*macro_f1"):
        compare_evaluations([evaluation(1), fewer])


def test_nothing_to_compare_and_too_few_measurements_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_evaluations([])
    with pytest.raises(UsageError, match="one measurement a model"):
        compare_evaluations([evaluation(1), evaluation(2)], [Measured()])


# --------------------------------------------------------------------------------------------------- names


def test_equal_names_are_told_apart(four: ModelComparison) -> None:
    names = [one.name for one in four.models]
    assert names == [f"{NAMES[0]} (torch fp32)", f"{NAMES[0]} (onnxruntime fp32)", *NAMES[2:]]
    same = distinct([("a", "x"), ("a", "x"), ("a (x) 2", "y"), ("a (x)", "y")])
    assert len({*same}) == 4 and same[2] == "a (x) 2"


@given(st.lists(st.tuples(st.sampled_from(["a", "a (x)", "a (x) 2", "b"]), st.sampled_from(["x", "y"])), max_size=8))
def test_no_two_names_are_equal(models: list[tuple[str, str]]) -> None:
    found = distinct(models)
    assert len({*found}) == len(found) == len(models)
    names = [name for name, _ in models]
    wanted = [name if names.count(name) == 1 else f"{name} ({ran})" for name, ran in models]
    for place, (new, want) in enumerate(zip(found, wanted, strict=True)):
        if want in wanted[:place]:
            assert re.fullmatch(rf"{re.escape(want)} ([2-9]|\d\d)", new)
        else:
            assert new == want


# -------------------------------------------------------------------------------------------------- Pareto

POINTS = st.one_of(st.none(), st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)))


@given(st.lists(POINTS, max_size=9))
def test_the_front_is_that_of_a_brute_force(points: list[tuple[float, float] | None]) -> None:
    found = pareto_front(points)
    for one, on_it in zip(points, found, strict=True):
        if one is None:
            assert on_it is None
            continue
        better = [
            other
            for other in points
            if other is not None
            and other[0] >= one[0]
            and other[1] >= one[1]
            and (other[0] > one[0] or other[1] > one[1])
        ]
        assert on_it == (better == [])


def test_of_an_error_less_is_better_on_the_front() -> None:
    numbers = np.arange(20.0)
    evaluations = [
        dataclasses.replace(
            evaluation(1, name=name),
            task="regression",
            metrics=(MetricValue("mae", error, error, error, higher_is_better=False),),
            outcome=Outcome("regression", numbers, numbers + error * np.resize([1, -1], 20)),
        )
        for name, error in (("good", 1.0), ("bad", 2.0))
    ]
    found = compare_evaluations(evaluations, [Measured(speed(100)), Measured(speed(90))])
    assert [one.front for one in found.models] == [True, False]
    assert "less is better" in found.to_markdown()


def test_without_speed_nothing_is_said_of_a_front() -> None:
    found = comparison(measured=False)
    assert [one.front for one in found.models] == [None] * 4
    assert words.FRONT not in str(found) and words.FRONT not in found.to_markdown()
    assert "texts/s" not in str(found) and "on disk" not in str(found)


# ------------------------------------------------------------------------------------------------ its forms


def numbers(model: object) -> list[str]:
    return [
        text
        for one in model.metrics  # type: ignore[attr-defined]
        for text in (f"{one.value:.4f}", f"[{one.low:.3f}, {one.high:.3f}]")
    ]


def test_the_printed_table_has_every_number_and_fits(four: ModelComparison) -> None:
    shown = str(four)
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert "…" not in shown  # nothing is cut off
    together = " ".join(shown.split())
    for model in four.models:
        for text in numbers(model):
            assert text in together
        for name, one in model.differences.items():
            assert f"{one.value:+.4f}" in together
            assert words.probability(model.adjusted[name]) in together
        if model.gained is not None:
            assert f"+{model.gained} −{model.lost} rows" in together
        measured = model.measured
        assert measured.speed is not None
        assert f"{measured.speed.rate:.0f}" in together and f"{1e3 * measured.speed.p50:.2f} ms" in together
        assert words.bytes_of(measured.disk) in together and words.bytes_of(measured.memory) in together
    assert shown.count(words.FRONT) == sum(one.front is True for one in four.models) + 1  # and where it is explained
    for text in ("200 rows", "seed 0", "reviews.csv", four.digest[:16], "torch 2.13.0", four.machine):
        assert text in together


def test_what_is_said_of_intervals_is_true(four: ModelComparison) -> None:
    for shown in (str(four), four.to_markdown(), str(evaluation())):
        together = " ".join(shown.split())
        assert "Wilson's of shares of right rows" in together and "bootstrap (50 resamples, seed 0)." in together
        assert ("Agresti and Min's" in together) == (shown != str(evaluation()))


def test_long_names_are_folded_and_not_cut() -> None:
    name = "an-owner/a-very-long-name-of-a-model-that-no-column-has-room-for"
    found = compare_evaluations(
        [evaluation(1, name=name), evaluation(2, name=name)], [Measured(speed(12345.6), 10**9, 10**9, "x" * 80)] * 2
    )
    shown = str(found)
    assert max(map(len, shown.splitlines())) <= WIDTH and "…" not in shown.partition("Where they")[0]
    assert "[0.870, 0.920]" in shown and "12.3 k" in shown


def test_a_terminal_that_draws_markup_draws_none_of_a_text() -> None:
    written = io.StringIO()
    Console(file=written, width=WIDTH).print(comparison(text="[bold]loud[/bold] [/nothing]"))
    assert "[bold]loud[/bold] [/nothing]" in written.getvalue()


def test_markdown_is_one_table_with_a_row_a_model(four: ModelComparison) -> None:
    lines = four.to_markdown().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(four.models)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    for line, model in zip(table[2:], four.models, strict=True):
        assert all(text in line for text in numbers(model))


def test_markdown_escapes_what_would_break_the_table() -> None:
    found = compare_evaluations([evaluation(1, name="a|b\n<script>")])
    assert r"| a\|b \<script>" in found.to_markdown()


def test_the_frame_holds_the_records_numbers(four: ModelComparison) -> None:
    frame = four.to_frame()
    assert list(frame.index) == [one.name for one in four.models]
    for model in four.models:
        row = frame.loc[model.name]
        for figure in model.metrics:
            assert (row[figure.name], row[f"{figure.name}_low"], row[f"{figure.name}_high"]) == (
                figure.value,
                figure.low,
                figure.high,
            )
        for name, one in model.differences.items():
            assert (row[f"{name}_difference"], row[f"{name}_p_holm"]) == (one.value, model.adjusted[name])
        assert model.measured.speed is not None
        assert row["rows_per_second"] == model.measured.speed.rate
        assert row["p50_seconds"] == model.measured.speed.p50
        assert (row["disk_bytes"], row["weight_bytes"]) == (model.measured.disk, model.measured.memory)


def test_json_has_null_where_a_number_is_not_defined() -> None:
    broken = evaluation(2, name="broken")
    figures = tuple(dataclasses.replace(one, value=math.nan, low=math.nan, high=math.inf) for one in broken.metrics)
    scores = np.full_like(broken.outcome.scores, np.nan)
    broken = dataclasses.replace(broken, metrics=figures, outcome=dataclasses.replace(broken.outcome, scores=scores))
    found = compare_evaluations([evaluation(1), broken])
    read = json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert read["models"][1]["metrics"]["accuracy"] == {"value": None, "low": None, "high": None}
    assert read["models"][1]["differences"] == {}
    assert read["models"][1]["speed"] is None
    assert "NaN" in str(found)
    assert json.loads(broken.to_json())["metrics"]["macro_f1"]["high"] is None


def test_json_has_what_the_table_has(four: ModelComparison) -> None:
    read = json.loads(four.to_json())
    for model, one in zip(four.models, read["models"], strict=True):
        assert one["metrics"]["accuracy"]["value"] == model.metrics[0].value
        assert (one["gained"], one["lost"], one["front"]) == (model.gained, model.lost, model.front)
        assert one["speed"]["rows_per_second"] == model.measured.speed.rate  # type: ignore[union-attr]
        assert np.asarray(one["confusion"]).sum() == four.rows
    assert [one["row"] for one in read["disagreements"]] == [one.row for one in four.disagreements]


# ------------------------------------------------------------------------------------------- disagreement


def test_the_ten_rows_are_those_with_most_different_answers(four: ModelComparison) -> None:
    given = np.stack([outcome(place + 1, wrong).given for place, wrong in enumerate((0.2, 0.2, 0.24, 0.3))])
    apart = np.array([np.mean([a != b for i, a in enumerate(row) for b in row[i + 1 :]]) for row in given.T])
    assert len(four.disagreements) == 10
    assert sorted((one.distance for one in four.disagreements), reverse=True) == sorted(apart, reverse=True)[:10]
    for one in four.disagreements:
        assert one.distance == pytest.approx(apart[one.row])
        assert one.text == f"A film of {one.row} words"
        names = four.labels
        assert one.answers == tuple(names[int(label)] for label in given[:, one.row])
        assert one.right == names[int(outcome(1, 0.2).right[one.row])]


def test_both_texts_of_a_pair_are_shown() -> None:
    data = Examples("similarity", {"text": ["long " * 100] * 2, "pair": ["other " * 100] * 2, "score": [0.0, 1.0]})
    scores = [Outcome("similarity", np.arange(2.0), np.array(given)) for given in ([0.1, 0.2], [0.2, 0.1])]
    found = disagreements(scores, data)[0].text
    assert found.count("long") > 10 and found.count("other") > 10 and len(found) <= 163


def test_models_that_agree_disagree_nowhere() -> None:
    assert disagreements([outcome(1, 0.2), outcome(1, 0.2)], examples()) == ()


def test_long_texts_are_shortened() -> None:
    found = disagreements([outcome(1, 0.2), outcome(2, 0.9)], examples(text="word " * 100))
    assert all(len(one.text) == 160 and one.text.endswith("…") for one in found)


TASKS = {
    "multi-label": (np.array([[1, 0], [1, 1]], bool), np.array([[1, 0], [0, 0]], bool), "LABEL 0, LABEL 1", "none"),
    "regression": (np.array([1.0, 2.0]), np.array([1.0, 5.0]), "2", "5"),
    "similarity": (np.array([0.1, 0.5]), np.array([0.1, 0.05]), "0.5 (rank 1)", "0.05 (rank 2)"),
    "token-classification": ([["O"], ["B-X", "O"]], [["O"], ["O", "O"]], "B-X O", "O O"),
    "question-answering": (["a", "the cat"], ["a", "a dog"], "the cat", "a dog"),
    "automatic-speech-recognition": (["a", "WE GO"], ["a", "WE SO"], "WE GO", "WE SO"),
    "retrieval": ([{0: 1.0}, {0: 2.0, 1: 1.0}], [{0: 1.0}, {0: 1.0, 1: 3.0}], "0, 1", "1, 0"),
    "fill-mask": (np.array([1, 2]), np.array([1, 50]), "rank 2", "rank 50"),
    "multiple-choice": (np.array([0, 1]), np.array([0, 2]), "1", "2"),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_answer_is_compared_and_shown(task: str) -> None:
    first, second, one, other = TASKS[task]
    labels = ("LABEL 0", "LABEL 1") if task == "multi-label" else ()
    right = [["x"], ["y", "z"]] if task == "question-answering" else first
    found = disagreements([Outcome(task, right, answers, labels=labels) for answers in (first, second)])
    if task == "similarity":  # the two rows changed their order, whatever the height of the numbers
        assert [row.distance for row in found] == [1.0, 1.0]
    else:
        assert [row.row for row in found] == [1]
    assert found[-1].answers == (one, other)
    assert 0 < found[0].distance <= (3 if task == "regression" else 1)
    assert found[-1].text == ""


def test_documents_are_shown_by_how_they_begin() -> None:
    data = Examples("retrieval", {"query": ["which?"], "relevant": [{1: 1.0}]}, corpus=("first text", "second text"))
    found = disagreements(
        [Outcome("retrieval", [{1: 1.0}], [{0: 2.0, 1: 1.0}]), Outcome("retrieval", [{1: 1.0}], [{0: 1.0, 1: 2.0}])],
        data,
    )
    assert found[0].right == "1 “second text”"
    assert found[0].answers[0] == "0 “first text”, 1 “second text”"
    assert found[0].text == "which?"


def test_texts_may_hold_anything() -> None:
    found = comparison(text=EVIL)
    assert EVIL in found.disagreements[0].text
    assert EVIL.split()[0] in str(found)


# --------------------------------------------------------------------------------------- labels in other orders


def test_labels_in_another_order_are_compared_by_name() -> None:
    plain, other = evaluation(1, name="one"), evaluation(2, 0.3, name="other")
    order = np.array([2, 0, 1])  # new position → old
    places, old = np.argsort(order), other.outcome
    assert old.scores is not None
    turned = dataclasses.replace(
        old,
        right=places[old.right],
        given=places[old.given],
        scores=old.scores[:, order],
        labels=tuple(old.labels[place].upper() for place in order),
    )
    found = compare_evaluations([plain, dataclasses.replace(other, outcome=turned)], (), examples())
    wanted = compare_evaluations([plain, other], (), examples())
    assert found.models[1].confusion.tolist() == wanted.models[1].confusion.tolist()  # type: ignore[union-attr]
    assert found.models[1].differences == wanted.models[1].differences
    assert found.disagreements == wanted.disagreements
    assert (found.models[1].gained, found.models[1].lost) == (wanted.models[1].gained, wanted.models[1].lost)


def test_sets_of_labels_in_another_order_are_compared_by_name() -> None:
    right, given = np.array([[1, 0, 0], [0, 1, 1]], bool), np.array([[1, 0, 1], [0, 1, 1]], bool)
    one = Outcome("multi-label", right, given, given.astype(np.float32), ("a", "b", "c"))
    turned = Outcome("multi-label", right[:, ::-1], given[:, ::-1], None, ("C", "B", "A"))
    _, other = aligned([one, turned])
    assert np.array_equal(other.right, right) and np.array_equal(other.given, given)


def test_labels_that_only_one_model_has_are_compared_by_name() -> None:
    first = outcome(1, 0.2)  # negative, neutral, positive
    wide = outcome(2, 0.3, labels=("mixed", "Neutral", "positive", "negative"))
    place = np.array([3, 1, 2])
    wide = dataclasses.replace(wide, right=place[first.right])
    evaluations = [evaluation(1), dataclasses.replace(evaluation(2, name="wide"), outcome=wide)]
    found = compare_evaluations(evaluations, (), examples())
    assert found.labels == ("negative", "neutral", "positive", "mixed")
    second = found.models[1]
    hits = wide.given == wide.right
    assert second.gained == sum((first.given != first.right) & hits)
    assert second.differences["accuracy"].value == pytest.approx(hits.mean() - (first.given == first.right).mean())
    assert second.confusion is not None and found.models[0].confusion is not None
    assert second.confusion.shape == found.models[0].confusion.shape == (4, 4)
    assert second.confusion[:, 3].sum() == sum(wide.given == 0) > 0 == second.confusion[3].sum()
    for one in found.disagreements:
        own = [outcome.labels[int(outcome.given[one.row])].lower() for outcome in (first, wide)]
        assert [answer.lower() for answer in one.answers] == own
    [moved] = [one.scores for one in aligned([first, wide])[1:]]
    assert moved is not None and np.array_equal(moved[:, [3, 1, 2, 0]], wide.scores)


def test_sets_of_labels_that_only_one_model_has_are_compared_by_name() -> None:
    right, given = np.array([[1, 0], [0, 1]], bool), np.array([[1, 1], [0, 1]], bool)
    one = Outcome("multi-label", right, given, given.astype(np.float32), ("a", "b"))
    other = Outcome("multi-label", right[:, ::-1], given[:, ::-1], given.astype(np.float32), ("b", "a"))
    wide = Outcome("multi-label", np.insert(right, 0, False, 1), np.insert(given, 0, True, 1), None, ("x", "a", "b"))
    found = aligned([one, other, wide])
    assert [each.labels for each in found] == [("a", "b", "x")] * 3
    assert all(np.array_equal(each.right, np.insert(right, 2, False, 1)) for each in found)
    assert [each.given[:, 2].tolist() for each in found] == [[False] * 2, [False] * 2, [True] * 2]
    assert (found[0].scores[:, 2] == -np.inf).all()
    [metric] = metrics_of("multi-label", ["subset_accuracy"])
    assert difference(metric, found[0], found[2]).value == -0.5


def test_models_that_were_asked_by_position_are_compared_by_position() -> None:
    first = outcome(1, 0.2)
    for labels in (("LABEL_0", "LABEL_1", "LABEL_2"), ("negative", "neutral"), (), ("neutral", "positive", "mixed")):
        one = dataclasses.replace(outcome(2, 0.3), labels=labels)
        assert aligned([first, one])[1] is one
        assert aligned([one, first])[1] is first


def test_models_of_other_vocabularies_are_compared_by_ranks() -> None:
    evaluations = [
        dataclasses.replace(
            evaluation(1, name=name),
            task="fill-mask",
            metrics=(MetricValue("accuracy", 0.5, 0.4, 0.6),),
            outcome=Outcome("fill-mask", np.array(ids), np.array(ranks)),
        )
        for name, ids, ranks in (("one", [7, 8, 9], [1, 5, 2]), ("other", [70, 80, 90], [1, 1, 1]))
    ]
    found = compare_evaluations(evaluations).models[1]
    assert (found.gained, found.lost) == (2, 0)
    assert found.differences["accuracy"].value == pytest.approx(2 / 3)
