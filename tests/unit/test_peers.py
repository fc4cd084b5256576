"""What the comparison with peers rests on: ratios, turns, corpora, and the conversation with a worker."""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.side_by_side import corpora, figures, report
from benchmarks.side_by_side.machine import told
from benchmarks.side_by_side.measure import least_cosine
from benchmarks.side_by_side.process import Worker, WorkerError
from benchmarks.side_by_side.ratios import class_of, paired, turns
from tests.repo.source import ROOT

SECONDS = st.floats(1e-3, 1e3)
ROUNDS = st.lists(st.tuples(SECONDS, SECONDS), min_size=2, max_size=12)

TRIVIAL = """
import sys
from types import SimpleNamespace
from benchmarks.side_by_side.worker import own_channel, serve

def load():
    print("a library says hello")
    if "broken" in sys.argv:
        raise RuntimeError("no such model")
    def encode(texts, batch):
        if "" in texts:
            raise ValueError("an empty text")
        return [[float(len(text)), float(batch)] for text in texts]
    return SimpleNamespace(encode=encode, batched=True, warm=lambda: print("warm"))

serve(load, sys.stdin, own_channel()) if "silent" not in sys.argv else sys.exit("gone")
"""


def trivial(*arguments: str) -> Worker:
    return Worker([sys.executable, "-c", TRIVIAL, *arguments], os.environ | {"PYTHONPATH": str(ROOT)})


# ------------------------------------------------------------------------------------------------------- ratios


@given(ROUNDS, st.floats(0.1, 10))
def test_a_ratio_is_that_of_the_rounds_whatever_slows_both(pairs: list[tuple[float, float]], slow: float) -> None:
    ours, theirs = [our for our, _ in pairs], [their for _, their in pairs]
    found = paired(ours, theirs)
    each = [their / our for our, their in pairs]
    assert min(each) * (1 - 1e-9) <= found.mean <= max(each) * (1 + 1e-9)
    assert found.lower <= found.mean <= found.upper
    slowed = paired([slow * ours[0], *ours[1:]], [slow * theirs[0], *theirs[1:]])
    assert math.isclose(slowed.mean, found.mean) and math.isclose(slowed.lower, found.lower, rel_tol=1e-6)
    swapped = paired(theirs, ours)
    assert math.isclose(swapped.mean, 1 / found.mean) and math.isclose(swapped.lower, 1 / found.upper, rel_tol=1e-6)


def test_the_interval_is_students() -> None:
    found = paired([1, 1, 1], [math.e, math.e**2, math.e**3])  # logs 1, 2, 3: t(0.975, 2) = 4.3027, s = 1
    assert math.isclose(math.log(found.lower), 2 - 4.302653 / math.sqrt(3), rel_tol=1e-6)
    for ours, theirs in (([1.0], [1.0]), ([1.0, 2.0], [1.0])):
        with pytest.raises(ValueError):
            paired(ours, theirs)


@given(st.integers(1, 9), st.integers(0, 40))
def test_everybody_has_one_turn_a_round_and_every_place_in_time(count: int, number: int) -> None:
    names = [str(i) for i in range(count)]
    assert sorted(turns(names, number)) == names
    whole = [turns(names, i) for i in range(2 * count)]
    for name in names:
        places = [order.index(name) for order in whole]
        assert sorted(places) == sorted([*range(count)] * 2)


def test_classes_by_cosine() -> None:
    assert [class_of(x) for x in (1.0, 0.99998, 0.995, 0.9)] == ["exact", "near-exact", "int8", None]
    same = np.eye(3)
    assert least_cosine(same, same) == 1
    assert least_cosine(-same, same) == least_cosine(same[:2], same) == least_cosine(same * np.nan, same) == -1


# ------------------------------------------------------------------------------------------------------ corpora


def test_texts_for_one_at_a_time_are_short_and_the_same_in_every_run() -> None:
    texts = corpora.queries(30)
    assert len(set(texts)) == 30 and max(map(len, texts)) <= corpora.QUERY and texts == corpora.queries(30)
    assert not set(texts) & set(corpora.snippets(30))


def test_flops_are_those_of_the_layers_products(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 3}')
    tokens = (2, 5)
    products = [(n, 4, 4) for n in tokens for _ in range(4)] + [(n, 4, 6) for n in tokens for _ in range(2)]
    products += [(n, 4, n) for n in tokens for _ in range(2)]  # queries by keys, and their weights by the values
    assert corpora.flops(tmp_path, tokens) == 3 * sum(2 * rows * inner * columns for rows, inner, columns in products)


# ------------------------------------------------------------------------------------------------------- workers


def test_a_worker_answers_in_turn_whatever_is_printed(tmp_path: Path) -> None:
    path, vectors = tmp_path / "texts.json", tmp_path / "vectors.npy"
    path.write_text(json.dumps(["a", "bb", "ccc"]))
    worker = trivial()
    try:
        assert worker.hello["batched"] and worker.ask("warm")["peak"] > 1
        worker.ask("corpus", name="c", path=str(path))
        worker.ask("vectors", corpus="c", batch=2, path=str(vectors))
        assert np.load(vectors).tolist() == [[1, 2], [2, 2], [3, 2]]
        assert worker.ask("encode", corpus="c", batch=4, every=2)["seconds"] >= 0
        assert len(worker.ask("each", corpus="c")["seconds"]) == 3
        with pytest.raises(WorkerError, match="an empty text"):
            worker.ask("first", texts=[""])
        assert worker.ask("first", texts=["goes on"])["peak"] > 1
    finally:
        worker.close()
    assert worker.child.returncode == 0


def test_a_worker_that_cannot_load_or_is_gone_says_why() -> None:
    with pytest.raises(WorkerError, match="no such model"):
        trivial("broken")
    with pytest.raises(WorkerError, match="ended with 1: gone"):
        trivial("silent")


def test_a_reason_is_the_errors_own_line() -> None:
    trace = 'Traceback (most recent call last):\n  File "x", line 1\n    f()\nmy.pkg.OddError: Not here.\n  do: ask\n'
    assert told(trace) == "OddError: Not here."
    assert told("first\nplain words") == "plain words" and told("") == "no reason given"


# -------------------------------------------------------------------------------------------------------- report


def made_up(name: str, ours: bool, cosine: float, seconds: float) -> dict[str, object]:
    return {
        "name": name,
        "ours": ours,
        "cosine": {"short": cosine, "one": 1.0},
        "seconds": {"short": [seconds] * 3, "one": [[seconds / 10] * 4] * 3},
        "batch": {"short": 32, "one": 1},
        "start": 1.0,
        "first_peak": 100.0,
        "peak": 200.0,
    }


FOUND = {
    "date": "2026-01-02 03:04 UTC",
    "machine": {"cpu": "A & B", "cpus": 2, "threads": 2, "has": ["avx2"], "memory_gb": 8, "python": "3.11"},
    "versions": {"here": {"numpy": "2.0"}, "there": {"numpy": "1.0"}},
    "rounds": 3,
    "corpora": {
        "short": {"texts": 100, "tokens": 2000, "longest": 40, "flops": 1e9},
        "one": {"texts": 4, "tokens": 80, "longest": 40, "flops": 1e7},
    },
    "multiply": {"torch": [1e9, 3e9, 1e9], "other": [2e9, 2e9, 2e9]},  # the best: 2, 3 and 2
    "contenders": [
        made_up("peer", False, 1.0, 2.0),
        made_up("coarse peer", False, 0.9999, 0.25),
        made_up("mine", True, 0.999995, 1.0),
        made_up("mine, coarse", True, 0.9999, 0.5),
        made_up("broken", True, 0.5, 0.1),
    ],
    "left_out": {"absent": "no such thing"},
}


def test_a_peer_is_compared_with_those_of_ours_that_are_as_exact() -> None:
    sides = {ours["name"]: [peer["name"] for peer, _ in peers] for ours, peers in figures.comparisons(FOUND)}
    assert sides == {"mine": ["peer"], "mine, coarse": ["peer", "coarse peer"]}
    [(_, ratios)] = figures.comparisons(FOUND)[0][1]
    assert {name: one.mean for name, one in ratios.items()} == pytest.approx({"short": 2, "one": 2})


def test_the_tables_hold_speed_beside_accuracy_and_the_limit() -> None:
    text = report.markdown(FOUND)
    rows = [line for line in text.splitlines() if line.startswith("| **mine** |")]
    speed, costs = ([cell.strip() for cell in row.split("|")[2:-1]] for row in rows)
    assert speed == ["exact", "100", "100.00", "100.00"]
    assert costs == ["0.999995", "50%", "1.0", "100", "200"]
    assert "numpy 1.0 and 2.0" in text and "absent (no such thing)" in text
    order = [one["name"] for one in figures.ordered(FOUND)]
    assert order == ["mine", "peer", "coarse peer", "mine, coarse", "broken"]


def test_the_page_and_its_plot_are_written_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / report.PAGE
    page.write_text(f"# Speed\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    report.write_docs(FOUND, tmp_path)
    report.write_docs(FOUND, tmp_path)
    text = page.read_text()
    assert (
        "old" not in text
        and text.endswith("after\n")
        and text.count("coarse peer") == report.markdown(FOUND).count("coarse peer")
    )
    drawings = {name: (tmp_path / name).read_text() for name in report.PLOTS}
    assert all("&amp;" in drawing for drawing in drawings.values())
    bars = {name: drawing.count("<rect") - 1 for name, drawing in drawings.items()}  # beside the ground
    assert bars == {
        "speed.svg": 10,
        "speed_narrow.svg": 10,
        "speed_first_page.svg": 2,
    }  # 5 on 2 corpora; the exact ones
    names = {name: drawing.count(">coarse peer<") for name, drawing in drawings.items()}
    assert names == {"speed.svg": 1, "speed_narrow.svg": 2, "speed_first_page.svg": 0}
