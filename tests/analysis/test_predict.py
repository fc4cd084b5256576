"""Predicted speed: how far off it is for models it has not seen, and that it is sane everywhere else."""

import copy
import dataclasses
import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import QEfficient
from benchmarks.prediction_errors import GROUPS, Errors, cross_validate, percentiles
from QEfficient.analysis import physics
from QEfficient.analysis.bands import kind, quantile
from QEfficient.analysis.predictor import Estimate, Prediction, Predictor, predict, predictor
from QEfficient.analysis.residual import RATE, TAIL, Residual, kernel
from QEfficient.analysis.run import COLUMNS, Run, measurements, parse
from QEfficient.errors import UsageError

ROW: dict[str, Any] = {
    "model_type": "bert",
    "layers": 12,
    "hidden_size": 768,
    "attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "task": "question-answering",
    "batch_size": 8,
    "seq_len": 128,
    "num_cores": 2,
    "instances": 7,
    "ols": 1,
    "mos": 1,
    "multicast_weights": 0,
    "set_size": 2,
}
RUN = parse(ROW)

runs = st.builds(
    Run,
    model_type=st.sampled_from(["bert", "albert", "deberta-v2", "jina-bert-v2", "mpnet", "made-up"]),
    layers=st.integers(1, 48),
    hidden_size=st.sampled_from([64, 128, 384, 768, 1024, 4096]),
    attention_heads=st.sampled_from([2, 12, 16]),
    intermediate_size=st.sampled_from([128, 1536, 3072, 16384]),
    vocab_size=st.integers(2, 300_000),
    task=st.sampled_from(["default", "fill-mask", "question-answering", "text-classification", "made-up"]),
    batch_size=st.integers(1, 32),
    seq_len=st.sampled_from([1, 32, 128, 300, 512, 8192]),
    num_cores=st.integers(1, 14),
    instances=st.integers(1, 14),
    set_size=st.integers(1, 10),
    ols=st.sampled_from([None, 1, 2, 4, 8]),
    mos=st.sampled_from([None, 1, 2, 14]),
    multicast_weights=st.booleans(),
).filter(lambda run: run.num_cores * run.instances <= 14)


class Unbanded(Predictor):
    """For tests of errors alone: the width of bands takes most of the time."""

    def halves(self, runs: Any, logs: Any, card: Any = None) -> Any:
        return np.zeros((2, len(runs)))


def rates(*runs: Run) -> list[float]:
    return [float(found.samples_per_second) for found in predictor().predict(runs)]


# ---------------------------------------------------------------------------------------- how far off


@pytest.fixture(scope="module")
def by_model() -> Errors:
    return cross_validate(measurements(), "model", folds=None)


@pytest.fixture(scope="module")
def by_kind() -> Errors:
    return cross_validate(measurements(), "layers and width", folds=None)


@pytest.fixture(scope="module")
def by_type() -> Errors:
    return cross_validate(measurements(), "model type", folds=None)


def test_the_table_is_whole() -> None:
    assert len(measurements()) == 307
    assert len({one.model for one in measurements()}) == 66
    assert all(one.run.num_cores * one.run.instances <= 14 for one in measurements())


def test_littles_law_holds_in_the_table() -> None:
    """Samples in flight are samples a second times seconds, up to how far a 95th percentile is above the mean."""
    excess = [one.samples_per_second * one.latency_ms / 1e3 / one.run.in_flight for one in measurements()]
    assert np.median(excess) == pytest.approx(1.02, abs=0.01)
    assert 0.96 < min(excess) and max(excess) < 1.63


@pytest.mark.parametrize("quantity", ["relative", "relative_latency"])
def test_errors_for_models_that_were_not_seen(by_model: Errors, quantity: str) -> None:
    median, ninety, _ = percentiles(getattr(by_model, quantity))
    assert median <= 0.06 and ninety <= 0.20


def test_errors_for_architectures_that_were_not_seen() -> None:
    """Most models are another's architecture with other weights; here none of the same is left to learn from."""
    errors = cross_validate(measurements(), "architecture", fit=Unbanded)
    for found in (errors.relative, errors.relative_latency):
        median, ninety, _ = percentiles(found)
        assert median <= 0.06 and ninety <= 0.20


def test_errors_for_sizes_and_for_types_that_were_not_seen(by_kind: Errors, by_type: Errors) -> None:
    for errors in (by_kind, by_type):
        for found in (errors.relative, errors.relative_latency):
            median, ninety, _ = percentiles(found)
            assert median <= 0.09 and ninety <= 0.25


def test_bands_hold_for_models_that_were_not_seen(by_model: Errors) -> None:
    """The bands of a model come from leaving out the others, one at a time; each counts once, or each measurement."""
    assert all(0.78 <= share <= 0.84 for share in (*by_model.inside, *by_model.inside_rows))


def test_bands_hold_for_layers_and_widths_that_were_not_seen(by_kind: Errors) -> None:
    """Each model counts once; the bands of a kind come from leaving out the other nine, one at a time."""
    assert all(0.77 <= share <= 0.83 for share in by_kind.inside)


def test_bands_hold_for_types_that_were_not_seen(by_type: Errors) -> None:
    """With nine types to learn from the bands are careful: they may hold more, and never less."""
    assert all(0.80 <= share <= 0.95 for share in by_type.inside)


def test_the_measurements_add_to_the_formula(by_model: Errors) -> None:
    """Without them, the formula fitted to all rows at once is further off than both together on rows not seen."""
    table = measurements()
    formula = physics.log_rate(predictor().regression.constants, physics.work([one.run for one in table]))
    alone = percentiles(np.expm1(formula - np.log([one.samples_per_second for one in table])))
    assert percentiles(by_model.relative)[1] < alone[1] - 0.02


def test_no_group_is_split_between_folds() -> None:
    held: list[set[str]] = []

    def fit(seen: Any) -> Any:
        held.append({one.model for one in measurements()} - {one.model for one in seen})
        return predictor()

    cross_validate(measurements(), "model", folds=5, fit=fit)
    assert sum(map(len, held)) == len(set.union(*held)) == 66


def test_groups_become_stricter() -> None:
    counts = {name: len({key(one) for one in measurements()}) for name, key in GROUPS.items()}
    assert counts == {
        "model": 66,
        "architecture and task": 85,
        "architecture": 39,
        "layers and width": 10,
        "model type": 10,
    }


def test_a_fold_says_nothing_of_its_own_band() -> None:
    """What predicts a kind, and finds the width of its bands, is made of all other measurements and of nothing else."""
    seen: list[Any] = []

    def fit(given: Any) -> Any:
        seen.append(given)
        return predictor()

    cross_validate(measurements(), "layers and width", folds=None, fit=fit)
    kinds = {kind(one.run) for one in measurements()}
    assert sorted(map(len, seen)) == sorted(sum(kind(one.run) != each for one in measurements()) for each in kinds)
    assert all(len({kind(one.run) for one in given}) == len(kinds) - 1 for given in seen)


def test_albert_is_predicted_as_well_as_others(by_kind: Errors) -> None:
    """Its layers share weights, and one of the two has an activation in eight operators; both were left out here."""
    albert = np.array([one.run.model_type == "albert" and one.run.task != "fill-mask" for one in measurements()])
    assert albert.sum() == 6
    assert np.median(np.abs(by_kind.relative[albert])) < 0.10
    assert np.abs(by_kind.relative[albert]).max() < 0.25


# ---------------------------------------------------------------------------------------- the width of a band


def test_a_quantile_counts_each_model_once() -> None:
    values, models = np.array([4.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0]), ["d", *"aaaa", "b", "c"]
    assert [quantile(values, models, share) for share in (0.25, 0.5, 0.75, 1.0, 1.2)] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert quantile(np.array([]), [], 0.8) == pytest.approx(1.2816)


def test_a_residual_knows_what_it_would_be_without_a_group() -> None:
    """The short way, through the inverse, against fitting to the others."""
    table = [one.run for one in measurements()][:40]
    errors = np.sin(np.arange(40.0))
    groups = [index % 7 for index in range(40)]
    off, variance = Residual(table, errors, RATE).left_out(groups)
    for group in range(7):
        held = [index for index in range(40) if groups[index] == group]
        kept = [index for index in range(40) if groups[index] != group]
        mean, spread = Residual([table[i] for i in kept], errors[kept], RATE).at([table[i] for i in held])
        assert np.allclose(off[held], errors[held] - mean) and np.allclose(variance[held], spread)


def test_few_kinds_may_widen_a_band_and_never_narrow_it() -> None:
    widths = predictor().widths
    for new in (widths.new_kind, widths.new_type):
        assert all(mine >= max(seen, 1.28) for mine, seen in zip(new, widths.seen, strict=True))
    one_kind = [one for one in measurements() if one.run.layers == 6 and one.run.hidden_size == 768]
    narrow = Predictor(one_kind).widths
    assert all(mine >= max(seen, 1.28) for mine, seen in zip(narrow.new_kind, narrow.seen, strict=True))


def test_a_band_is_the_same_every_time() -> None:
    again = Predictor(measurements()).widths
    for name in ("seen", "new_kind", "new_type"):
        assert getattr(again, name) == getattr(predictor().widths, name)


# ---------------------------------------------------------------------------------------- the formula


def test_the_fit_finds_constants_that_made_the_rates() -> None:
    table = [one.run for one in measurements()]
    true = physics.Constants(0.5, 3.0, 1.0, 5.0, 2.0, 0.7, 5.0, 90.0, 200.0, 9.0, 2.0)
    found = physics.fit(table, np.exp(physics.log_rate(true, physics.work(table))))
    for name, value in dataclasses.asdict(true).items():
        assert getattr(found, name) == pytest.approx(value, rel=0.03), name


def test_work_counts_the_flops_of_a_layer() -> None:
    todo = physics.work([replace(RUN, layers=1, batch_size=1)])
    dense = 2 * 128 * (4 * 768**2 + 2 * 768 * 3072)
    assert todo.matmul[0] == dense
    assert todo.attention[0] == 2 * 2 * 12 * 128 * 128 * 64
    assert todo.weights[0] == 2 * dense / (2 * 128)


def test_a_width_takes_as_long_as_the_next_whole_tile() -> None:
    narrow, whole = (
        replace(RUN, hidden_size=312, intermediate_size=1248),
        replace(RUN, hidden_size=384, intermediate_size=1280),
    )
    for name in ("matmul", "attention", "elements", "weights"):
        assert getattr(physics.work([narrow]), name)[0] == getattr(physics.work([whole]), name)[0]


def test_what_a_run_says_of_its_layers_counts() -> None:
    plain, said = (
        physics.work([RUN]),
        physics.work([replace(RUN, gated=True, layer_weights=3 * 10**6, layer_inner=6144)]),
    )
    assert said.weights[0] == 2 * 12 * 3 * 10**6 and said.matmul[0] == 8 * 128 * said.weights[0]
    assert said.elements[0] - plain.elements[0] == 12 * (2 * 6144 - 3072) * 8 * 128


def test_an_activation_in_many_operators_costs_more_whatever_the_type() -> None:
    """ALBERT's is so by default, and not where its config says otherwise."""
    for name, written_out in {"gelu": False, "gelu_new": True, "relu": False, "gelu_pytorch_tanh": True}.items():
        found = physics.work([replace(RUN, hidden_act=name)]).tanh[0]
        assert found == (12 * 3072 * 8 * 128 if written_out else 0)
    albert = replace(RUN, model_type="albert")
    assert physics.work([albert]).tanh[0] > 0 == physics.work([replace(albert, hidden_act="gelu")]).tanh[0]
    slow, quick = rates(replace(RUN, hidden_act="gelu_new"), RUN)
    assert slow < 0.7 * quick


def test_the_activation_of_a_measured_network_is_known() -> None:
    tiny = next(one for one in measurements() if one.run.hidden_size == 312)
    row = {name: getattr(tiny.run, name) for name in COLUMNS}
    assert parse(row) == tiny.run and parse(row).hidden_act == "gelu"
    assert parse({**row, "vocab_size": 30000}).hidden_act is None
    assert parse({**row, "hidden_act": "gelu_new"}).hidden_act == "gelu_new"


def test_outputs_of_a_vocabulary_head_are_the_vocabulary() -> None:
    assert physics.outputs(replace(RUN, task="fill-mask")) == 4 * 128 * 30522
    assert physics.outputs(RUN) == 4 * 128 * 2
    assert physics.outputs(replace(RUN, task="no such task")) == physics.outputs(replace(RUN, task="default"))


def test_the_host_s_link_bounds_a_vocabulary_head() -> None:
    wide = replace(RUN, task="fill-mask", vocab_size=250_000)
    bound, free = rates(wide, replace(wide, task="default"))
    assert bound * physics.outputs(wide) < 12e9
    assert free > 10 * bound


@settings(max_examples=60, deadline=None)
@given(run=runs, more=st.integers(1, 24))
def test_more_layers_or_inner_width_never_run_faster(run: Run, more: int) -> None:
    deeper = replace(run, layers=run.layers + more)
    wider = replace(run, intermediate_size=run.intermediate_size + 64 * more)
    plain, *slower = rates(run, deeper, wider)
    assert max(slower) <= plain * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(run=runs, more=st.integers(1, 10**7), inner=st.integers(1, 4096))
def test_more_weights_or_activations_in_a_layer_never_run_faster(run: Run, more: int, inner: int) -> None:
    told = replace(run, layer_weights=10**6, layer_inner=512)
    heavier, busier = replace(told, layer_weights=10**6 + more), replace(told, layer_inner=512 + inner)
    gated, written_out = replace(run, gated=True), replace(told, hidden_act="gelu_new")
    ungated, plain = rates(replace(run, gated=False), replace(told, hidden_act="gelu"))
    first, *slower = rates(told, heavier, busier)
    assert max(slower) <= first * (1 + 1e-9)
    assert rates(gated)[0] <= ungated * (1 + 1e-9) and rates(written_out)[0] <= plain * (1 + 1e-9)


@pytest.mark.parametrize("width", [1, 64, 312, 768, 4096])
@pytest.mark.parametrize("layers", [1, 12, 96])
def test_wider_networks_run_slower(layers: int, width: int) -> None:
    """From one width to twice as much, at four times the inner width: also far outside of what was measured."""
    sizes = [replace(RUN, layers=layers, hidden_size=w, intermediate_size=4 * w) for w in (width, 2 * width)]
    narrow, wide = rates(*sizes)
    assert wide < 1.05 * narrow
    if width >= 312:
        assert wide < narrow


@settings(max_examples=40, deadline=None)
@given(run=runs)
def test_every_run_has_a_finite_prediction_inside_of_its_band(run: Run) -> None:
    found = predictor().predict([run])[0]
    for value in (found.samples_per_second, found.latency_ms):
        assert 0 < value.low < value < value.high < math.inf


@settings(max_examples=30, deadline=None)
@given(run=runs)
def test_latency_and_rate_keep_littles_law(run: Run) -> None:
    found = predictor().predict([run])[0]
    assert 0.9 < found.samples_per_second * found.latency_ms / 1e3 / run.in_flight < 1.8


def test_longer_texts_run_slower() -> None:
    lengths = (16, 32, 64, 128, 256, 512, 1024, 4096)
    found = rates(*(replace(RUN, seq_len=length) for length in lengths))
    assert found == sorted(found, reverse=True)


# ---------------------------------------------------------------------------------------- the residual


def test_the_kernel_is_a_covariance() -> None:
    table = [one.run for one in measurements()]
    for scales in (RATE, TAIL):
        found = kernel(table, table, scales)
        assert np.allclose(found, found.T)
        assert np.linalg.eigvalsh(found).min() > -1e-9
        assert np.allclose(np.diag(found), scales.variance)


def test_a_residual_knows_nothing_far_away() -> None:
    residual = Residual([RUN], np.array([0.3]), RATE)
    far = replace(RUN, model_type="x", hidden_size=2**30, ols=None, mos=None, multicast_weights=True)
    mean, variance = residual.at([RUN, far])
    assert 0.2 < mean[0] < 0.3 and abs(mean[1]) < 1e-3
    assert variance[0] < variance[1] == pytest.approx(RATE.variance + RATE.noise**2, rel=1e-3)


# ---------------------------------------------------------------------------------------- rows


def test_numbers_and_text_are_the_same_row() -> None:
    as_text = {name: "" if value is None else str(value) for name, value in ROW.items()}
    assert predict(ROW) == predict(as_text)
    assert parse({**ROW, "batch_size": 8.0, "multicast_weights": True}) == replace(RUN, multicast_weights=True)


@pytest.mark.parametrize("empty", ["", None, " "])
def test_options_may_be_left_to_the_compiler(empty: object) -> None:
    without = {name: value for name, value in ROW.items() if name not in ("ols", "mos")}
    assert parse({**ROW, "ols": empty, "mos": empty}) == parse(without) == replace(RUN, ols=None, mos=None)


def test_other_columns_make_no_difference() -> None:
    noted = {**ROW, "model": "x", "objective": "balanced", "samples_per_second": "1", "latency_ms": "1"}
    assert predict(noted) == predict(ROW)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": "twelve"}, "layers='twelve'"),
        ({"layers": 0}, "layers=0"),
        ({"layers": 1.5}, "layers=1.5"),
        ({"layers": True}, "layers=True"),
        ({"layers": math.nan}, "layers=nan"),
        ({"batch_size": None}, "batch_size=None"),
        ({"ols": "all"}, "ols='all'"),
        ({"multicast_weights": "yes please"}, "multicast_weights='yes please'"),
        ({"task": 3}, "task=3"),
        ({"model_type": ""}, "model_type=''"),
        ({"hidden_act": 3}, "hidden_act=3"),
        ({"gated": "perhaps"}, "gated='perhaps'"),
        ({"layer_weights": "many"}, "layer_weights='many'"),
        ({"layer_inner": 0}, "layer_inner=0"),
        ({"num_cores": 8, "instances": 2}, "num_cores=8 × instances=2"),
    ],
)
def test_a_bad_value_is_refused_with_the_column_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        predict({**ROW, **change})
    assert said in str(error.value)


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in ("ols", "mos")])
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        predict({column: value for column, value in ROW.items() if column != name})


def test_a_misspelt_column_gets_the_nearest() -> None:
    row = {("batchsize" if name == "batch_size" else name): value for name, value in ROW.items()}
    with pytest.raises(UsageError, match="Did you mean 'batchsize'"):
        predict(row)


def test_no_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match="mapping"):
        predict([1, 2])  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------- what was not measured


def test_a_measured_kind_of_run_is_no_extrapolation() -> None:
    assert not any(found.extrapolated for found in predictor().predict([one.run for one in measurements()]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "made-up"}, "model_type made-up"),
        ({"task": "made-up"}, "task made-up"),
        ({"seq_len": 256}, "seq_len 256"),
        ({"layers": 48}, "layers 48"),
        ({"hidden_act": "gelu_new"}, "none with hidden_act gelu_new"),
        ({"model_type": "albert"}, "none with hidden_act gelu_new"),
        ({"layers": 8}, "no network with layers 8 and hidden_size 768 and intermediate_size 3072"),
        ({"hidden_size": 4096}, "hidden_size 4096"),
        ({"batch_size": 64}, "batch_size 64"),
        ({"seq_len": 512}, "batch_size 8 at seq_len 512"),
        ({"set_size": 10}, "set_size 10"),
    ],
)
def test_what_was_not_measured_is_said_and_has_a_wider_band(change: dict[str, object], said: str) -> None:
    found = predict({**ROW, **change})
    assert any(said in reason for reason in found.extrapolated)
    known = predict(ROW).samples_per_second
    assert found.samples_per_second.high / found.samples_per_second.low > known.high / known.low


def test_other_cards_are_scaled_and_say_so() -> None:
    standard, pro, ultra = (predict(ROW, card) for card in ("standard", "pro", "ultra"))
    assert not standard.extrapolated and "card pro" in pro.extrapolated[0] and "4 SoCs" in ultra.extrapolated[0]
    assert pro.samples_per_second == pytest.approx(standard.samples_per_second, rel=0.02)  # its cores are as quick
    assert 0.55 < ultra.samples_per_second / standard.samples_per_second < 0.75  # those of an Ultra run slower
    assert predict({**ROW, "num_cores": 16, "instances": 1}, "pro").card == "pro"
    with pytest.raises(UsageError, match="Did you mean 'ultra'"):
        predict(ROW, "ulta")


# ---------------------------------------------------------------------------------------- the result


def test_an_estimate_is_a_number_with_a_band() -> None:
    found = predict(ROW)
    assert isinstance(found, Prediction) and isinstance(found.samples_per_second, float)
    assert 2000 < found.samples_per_second < 2800 and found["latency_ms"] == found.latency_ms
    assert json.loads(json.dumps(found.latency_ms)) == found.latency_ms
    for copied in (copy.deepcopy(found.latency_ms), pickle.loads(pickle.dumps(found.latency_ms))):
        assert (copied, copied.low, copied.high) == (found.latency_ms, found.latency_ms.low, found.latency_ms.high)
    assert repr(Estimate(2.0, 1.0, 3.0)) == "2 (1 to 3)"
    with pytest.raises(KeyError):
        found["no such column"]


def test_it_is_found_after_a_bare_import() -> None:
    script = f"import QEfficient; print(float(QEfficient.analysis.predict({ROW!r}).samples_per_second))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(predict(ROW).samples_per_second, rel=1e-9)
    with pytest.raises(AttributeError):
        QEfficient.analysis.no_such_name  # noqa: B018
