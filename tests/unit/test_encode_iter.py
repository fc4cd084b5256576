"""``encode_iter``, and ``encode`` where a list is more than one window, on a tiny model."""

from __future__ import annotations

import itertools
import logging
import signal
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient import QEFFAutoModel
from QEfficient.backends.base import Tunable
from QEfficient.errors import InputError, UsageError
from QEfficient.inference.encode import EncodeArgs, TextEncoder
from QEfficient.inference.loaded_program import LoadedProgram
from QEfficient.records import MODEL, TensorSpec, Tuning
from tests.example_session import ExampleSession
from tests.tiny_repo import tiny_repo

WORDS = "the quick brown fox jumps over the lazy dog and runs away from it all".split()


def some_texts(count: int) -> list[str]:
    """Short and longer ones in no order, each with its number in it."""
    return [" ".join([str(number), *WORDS[: number * 7 % 11]]) for number in range(count)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        model = QEFFAutoModel.from_pretrained(
            tiny_repo(tmp_path_factory.mktemp("repo"), layers=1, normalize=False), pooling="auto"
        )
        model.compile(backend="onnxruntime", verify="off", seq_len=[32, 64])
        return Path(model.save_pretrained(tmp_path_factory.mktemp("saved")))


@pytest.fixture
def model(program: Path) -> Iterator[QEFFAutoModel]:
    model = QEFFAutoModel.from_pretrained(program)
    yield model
    model.close()


def test_both_give_each_text_its_own_vector_in_order(model: QEFFAutoModel) -> None:
    texts = some_texts(700)  # windows of 256 and 444
    together = model.encode(texts)
    assert together.shape == (700, 32)
    for row in (0, 1, 255, 256, 257, 511, 699):
        assert np.abs(model.encode(texts[row]) - together[row]).max() <= 1e-5
    one_by_one = list(model.encode_iter(iter(texts)))
    assert len(one_by_one) == 700 and all(vector.shape == (32,) for vector in one_by_one)
    assert np.abs(np.stack(one_by_one) - together).max() <= 1e-5
    assert (model.encode(texts) == together).all()  # bit for bit


@pytest.mark.parametrize(
    "keywords",
    [
        {"prompt": "query: "},
        {"truncate_dim": 5, "normalize_embeddings": True},
        {"overlong": "chunk"},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
    ],
    ids=str,
)
def test_keywords_mean_what_they_mean_in_encode(model: QEFFAutoModel, keywords: dict[str, Any]) -> None:
    texts = [*some_texts(20), "word " * 150, "the end"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ours = list(model.encode_iter(texts, **keywords, window=6))
        theirs = model.encode(texts, **keywords)
    assert type(ours[0]) is type(theirs[0])
    assert np.abs(np.stack([np.asarray(v) for v in ours]) - np.stack([np.asarray(v) for v in theirs])).max() <= 1e-5


@pytest.mark.parametrize("keywords", [{}, {"convert_to_tensor": True}], ids=str)
def test_a_vector_that_is_kept_keeps_no_other(model: QEFFAutoModel, keywords: dict[str, Any]) -> None:
    kept = next(model.encode_iter(some_texts(20), **keywords))
    memory = kept.untyped_storage().nbytes() if keywords else (kept if kept.base is None else kept.base).nbytes
    assert memory == 4 * 32


def test_a_session_that_is_outdated_is_closed_when_its_last_user_leaves(
    model: QEFFAutoModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    ready = model._need_loaded()
    vectors = model.encode_iter(some_texts(20))
    next(vectors)
    before = ready._session
    assert before is not None
    ready._adopt(Tuning(streams=before.slots, threads=1, batch_tokens=48))
    assert ready._session is before  # the iterator uses it
    vectors.close()  # type: ignore[attr-defined]
    model.encode("a text")
    assert ready._session is not before
    assert isinstance(ready._session, Tunable) and ready._session.tuning.batch_tokens == 48
    model.close()


def test_one_warning_counts_all_texts_of_a_list_and_tells_the_first_of_a_stream(model: QEFFAutoModel) -> None:
    texts = some_texts(600)
    texts[3] = texts[400] = texts[599] = "word " * 100
    with pytest.warns(UserWarning, match="3 of 600 texts were longer than 64 tokens") as caught:
        model.encode(texts)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="Text 3 was longer than 64 tokens") as caught:
        for _ in model.encode_iter(texts):
            pass
    assert len(caught) == 1 and caught[0].filename == __file__


def test_an_error_about_a_list_names_its_texts_and_counts_them_all(model: QEFFAutoModel) -> None:
    texts = some_texts(600)
    texts[300] = texts[500] = "word " * 100
    with pytest.raises(InputError, match=r"2 of 600 texts are longer.*\n?.*text 300 has 10\d tokens, text 500"):
        model.encode(texts, overlong="error")
    texts[450] = "half of a pair \ud800"
    with pytest.raises(InputError, match="Text 450 is not valid Unicode"):
        model.encode(texts)
    with pytest.raises(InputError, match="Row 450"):
        model.encode([*texts[:450], None])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (None, "Row 300 is not a string"),
        ("half of a pair \ud800", "Text 300 is not valid Unicode"),
        ("word " * 100, "text 300 has 10. tokens"),
        (OSError("The disk is gone."), "The disk is gone"),
    ],
    ids=["no string", "no Unicode", "too long", "the source raises"],
)
def test_all_before_an_error_comes_out_before_it(model: QEFFAutoModel, bad: Any, said: str) -> None:
    def source() -> Iterator[Any]:
        yield from some_texts(300)
        if isinstance(bad, Exception):
            raise bad
        yield bad
        yield from some_texts(5)

    seen = 0
    with pytest.raises((InputError, OSError), match=said):
        for _ in model.encode_iter(source(), overlong="error"):
            seen += 1
    assert seen == 300


def test_a_text_that_fits_no_bucket_comes_after_all_before_it(model: QEFFAutoModel) -> None:
    ready = model._need_loaded()
    graph = ready.program.manifest.graph
    shorter = replace(ready.program.manifest, graphs={MODEL: replace(graph, shapes=graph.shapes[:1])})
    model._loaded = LoadedProgram(replace(ready.program, manifest=shorter), ready.backend, "a test")
    seen = 0
    with pytest.raises(InputError, match="longer than the largest compiled bucket") as caught:
        for _ in model.encode_iter([*some_texts(9), "word " * 50, "another"]):
            seen += 1
    assert seen == 9
    assert "number 9" in caught.value.__notes__[0]


@pytest.mark.parametrize("wrong", ["one string", b"bytes", None, 5, {"a": 1}])
def test_what_is_no_iterable_of_strings_is_refused_at_once(model: QEFFAutoModel, wrong: Any) -> None:
    with pytest.raises(InputError, match="not a list of strings"):
        model.encode_iter(wrong)


def test_arguments_are_checked_before_the_first_vector(model: QEFFAutoModel) -> None:
    with pytest.raises(UsageError, match="truncate_dim"):
        model.encode_iter(["a"], truncate_dim=33)
    with pytest.raises(UsageError, match="token_embeddings"):
        model.encode_iter(["a"], output_value="token_embeddings")
    with pytest.raises(Exception, match="window"):
        model.encode_iter(["a"], window=0)


def test_an_open_iterator_lets_others_work_and_is_no_trap(model: QEFFAutoModel) -> None:
    vectors = model.encode_iter(itertools.cycle(some_texts(10)))
    next(vectors)
    assert model.encode("between").shape == (32,)
    with pytest.raises(UsageError, match="encode_iter"):
        model.close()  # it would wait for this very thread
    vectors.close()  # type: ignore[attr-defined]
    model.close()
    assert model.encode("afterwards").shape == (32,)


def test_what_was_computed_is_counted_and_logged(model: QEFFAutoModel, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "QEfficient"):
        model.encode(["a cat", "the quick brown fox"])
    [record] = [r for r in caplog.records if "padding" in r.getMessage()]
    assert record.getMessage().startswith("2 rows in ")
    work = model.device_report()["work"]
    assert work["rows"] == 2 and 1 <= work["batches"] <= 2
    assert work["efficiency"] == work["tokens"] / work["positions"] <= 1
    list(model.encode_iter(some_texts(50)))
    assert model.device_report()["work"]["rows"] == 52


class StubSession(ExampleSession):
    """Answers zeros of the model's width."""

    def __init__(self, ready: LoadedProgram) -> None:
        manifest = ready.program.manifest
        super().__init__(TensorSpec("output", "float32", ("batch_size", 32)), slots=2)
        self.inputs, self.shapes = manifest.inputs, manifest.shapes

    def _answer(self, ids: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        return {"output": np.zeros((len(ids), 32), np.float32)}


def test_memory_stays_flat(model: QEFFAutoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = model._need_loaded()
    session = StubSession(ready)
    monkeypatch.setattr(type(ready.backend), "open", lambda *args, **keywords: session)
    vectors = TextEncoder(ready, ready.text, EncodeArgs()).stream(map(str, itertools.count()), window=128)
    tracemalloc.start()
    try:
        assert len(list(itertools.islice(vectors, 1000))) == 1000
        first = tracemalloc.get_traced_memory()[1]
        for vector in itertools.islice(vectors, 9000):
            kept = vector  # noqa: F841  # the last one only, as a caller's loop does
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        vectors.close()  # type: ignore[attr-defined]
    assert most < first + 300_000, "what one window takes: about 500 bytes a text"


def test_a_close_that_ctrl_c_interrupts_is_made_up_for(model: QEFFAutoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.encode("a text")
    session = model._need_loaded()._session
    assert session is not None
    close, closed = session.close, []

    def interrupted() -> None:
        closed.append(len(closed))
        if len(closed) == 1:
            raise KeyboardInterrupt
        close()

    monkeypatch.setattr(session, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.close()
    assert model.encode("another").shape == (32,) and len(closed) == 2, "the first session holds the device's cores"
    model.close()
    model.close()
    assert len(closed) == 2


def test_a_vector_that_is_kept_keeps_nothing_else(model: QEFFAutoModel) -> None:
    for keywords, bytes_of_it in (({}, 4 * 32), ({"truncate_dim": 3}, 4 * 3)):
        vector = model.encode("a text", **keywords)
        while isinstance(vector.base, np.ndarray):
            vector = vector.base
        assert vector.base is None and vector.nbytes == bytes_of_it


CHILD = """
import itertools, sys, threading
from QEfficient import QEFFAutoModel

model = QEFFAutoModel.from_pretrained(sys.argv[1])
try:
    for number, vector in enumerate(model.encode_iter(itertools.cycle(["a text", "and another, longer one"]))):
        if number == 600:
            print("running", flush=True)
except KeyboardInterrupt:
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("qefficient")]
    model.close()  # waits for what is in flight
    print("left:", left, threading.active_count(), flush=True)
"""


def test_ctrl_c_leaves_nothing_running(program: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(program)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=30)
    finally:
        child.kill()
    assert said == "left: [] 1\n"
    assert child.returncode == 0
