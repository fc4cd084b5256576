"""``benchmark()``: what it measures, on a tiny program of each kind, and what its figures mean."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from QEfficient import QEFFAutoModel
from QEfficient import program as programs
from QEfficient.backends.onnxruntime import OnnxRuntimeBackend
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.records import MODEL, CompileOptions, ModelFacts, Program, Shape, Target, TextFacts
from QEfficient.runtime import spans
from QEfficient.runtime.benchmark import Benchmark, measure
from QEfficient.runtime.counts import RunCounts
from tests import tiny_graphs

BUCKETS = (Shape(8, 2), Shape(16, 2))


def program(folder: Path, *, pooled: bool = True, texts: bool = True) -> Path:
    """A saved program of the tiny graph, with a tokenizer of words where ``texts``."""
    graph = tiny_graphs.make(folder / "graph", pooled=pooled, external=False)
    home = folder / "program"
    home.mkdir()
    made = OnnxRuntimeBackend().compile({MODEL: graph}, {MODEL: BUCKETS}, Target("onnxruntime"), CompileOptions(), home)
    words = {"[PAD]": 0, "[UNK]": 1, "the": 2, "a": 3}
    tokenizer = Tokenizer(WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(home / "tokenizer.json"))
    (home / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": tiny_graphs.VOCABULARY}))
    head = ({"step": "pooling", "modes": ["mean"]},) if pooled else ()
    manifest = dataclasses.replace(
        made.manifest,
        text=TextFacts("tokenizer.json" if texts else None, max_length=64),
        model=ModelFacts("tiny", "BertModel", "bert", "feature-extraction", head, tiny_graphs.DIM, "config.json"),
    )
    return programs.write(Program(home, manifest)).path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(tmp_path_factory.mktemp("texts"))


def test_texts_from_string_to_vector(folder: Path) -> None:
    model = QEFFAutoModel.from_pretrained(folder)
    found = model.benchmark(["the a", "a b c d", "the"], batch=2, rounds=3)
    assert (found.batch, len(found.latencies), found.rows) == (2, 6, 9)
    assert found.work.rows == 9 and found.work.tokens == 3 * 7
    assert found.work.positions >= found.work.tokens and 0 < found.efficiency <= 1
    assert found.name == "tiny" and found.inputs == "3 texts" and found.session["device"] == "cpu"
    assert found.warmup > 0 and sum(found.latencies) <= found.seconds
    by_name = {stage.name: stage for stage in found.stages}
    assert list(by_name) == [*spans.STAGES, "other"]
    assert all(by_name[name].seconds > 0 for name in spans.STAGES)
    assert sum(stage.share for stage in found.stages) >= 1 - 1e-9


def test_built_in_texts_are_those_that_fit(folder: Path) -> None:
    found = QEFFAutoModel.from_pretrained(folder).benchmark(batch=1, seconds=0.05, rounds=1)
    assert found.inputs.endswith("built-in texts") and found.work.tokens <= found.rows * BUCKETS[-1].length
    assert found.rows == len(found.latencies)


def test_a_strict_session_shows_what_fixed_shapes_cost(folder: Path) -> None:
    found = QEFFAutoModel.from_pretrained(folder, strict=True).benchmark(["the a"], rounds=2)
    assert found.work == RunCounts(rows=2, batches=2, tokens=4, positions=2 * 8 * 2)


def test_a_program_of_ids_is_given_random_rows_of_every_length(tmp_path: Path) -> None:
    model = QEFFAutoModel.from_pretrained(program(tmp_path, texts=False))
    found = model.benchmark(rounds=1)
    assert found.inputs == "32 random rows" and found.work.tokens == 16 * (8 + 16) <= found.work.positions
    with pytest.raises(UsageError, match="takes no texts"):
        model.benchmark(["the"])


def test_one_vector_a_token(tmp_path: Path) -> None:
    found = QEFFAutoModel.from_pretrained(program(tmp_path, pooled=False)).benchmark(["a b", "the"], rounds=1)
    assert found.work.tokens == 3


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"seconds": 0}, OptionError),
        ({"seconds": True}, OptionError),
        ({"seconds": float("nan")}, OptionError),
        ({"batch": 0}, OptionError),
        ({"rounds": 1.5}, OptionError),
        ({"texts": "a text"}, InputError),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(folder: Path, keywords: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        QEFFAutoModel.from_pretrained(folder).benchmark(**keywords)


# ------------------------------------------------------------------------------------------------- loop and record


class Clock:
    """Seconds that pass only while something is called."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    items=st.integers(1, 20),
    batch=st.integers(1, 25),
    cost=st.floats(0.01, 2),
    seconds=st.floats(0.01, 5),
    rounds=st.none() | st.integers(1, 4),
)
def test_calls_take_turns_until_time_or_rounds_are_up(
    items: int, batch: int, cost: float, seconds: float, rounds: int | None
) -> None:
    clock, seen = Clock(), []

    def call(part: Sequence[int]) -> None:
        seen.append(list(part))
        clock.now += cost

    found = measure(call, range(items), batch, seconds=seconds, rounds=rounds, clock=clock)
    flat = [item for part in seen for item in part]
    assert flat == [i % items for i in range(len(flat))]  # every item in turn, round after round
    assert all(len(part) == batch for part in seen if part[-1] != items - 1) and max(map(len, seen)) <= batch
    assert found.rows == len(flat) and len(found.latencies) == len(seen)
    assert found.latencies == pytest.approx([cost] * len(seen)) and found.seconds == pytest.approx(cost * len(seen))
    assert (len(seen) - 1) * cost < seconds + 1e-9  # the last one was started in time
    if rounds is None:
        assert found.seconds >= seconds - 1e-9
    else:
        assert found.rows <= rounds * items
        assert found.rows == rounds * items or found.seconds >= seconds - 1e-9


def record(latencies: Sequence[float], work: RunCounts) -> Benchmark:
    timings = measure(lambda part: None, [1], 1, seconds=1, rounds=1)
    total = sum(latencies)
    return Benchmark(
        "m", "host", "fp32", 2, "1 text", 1, tuple(latencies), total, 0.5, len(latencies), work, timings.stages
    )


@given(st.lists(st.floats(1e-6, 1e3), min_size=1), st.integers(1, 99), st.integers(0, 99))
def test_figures_hang_together(latencies: list[float], tokens: int, padding: int) -> None:
    found = record(latencies, RunCounts(rows=3, batches=2, tokens=tokens, positions=tokens + padding))
    tiny = 1 + 1e-9
    assert min(latencies) / tiny <= found.p50 <= found.p95 * tiny <= found.p99 * tiny**2 <= max(latencies) * tiny**3
    assert found.efficiency == tokens / (tokens + padding) and found.rows_per_batch == 1.5
    assert found.rows_per_second * found.seconds == pytest.approx(found.rows)
    assert found.tokens_per_second * found.seconds == pytest.approx(tokens)
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["latencies"] == latencies and plain["p95"] == found.p95 and plain["work"]["tokens"] == tokens


def test_it_prints_as_two_tables() -> None:
    text = str(record([0.001, 0.003], RunCounts(2, 2, 30, 40)))
    assert "2 calls of 1" in text and "2.00 ms" in text and "75.0%" in text
    assert all(stage in text for stage in (*spans.STAGES, "other"))
    assert len(str(record([0.001], RunCounts())).splitlines()) == len(text.splitlines())
