"""The interpreter ends while vectors are still to come: in silence, at once, with the exit code that was meant.

Each test is an interpreter of its own, with a warm program: without torch.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from QEfficient import QEFFAutoModel
from QEfficient.backends.base import Arrays
from QEfficient.runtime.run import How
from QEfficient.runtime.stream import FIRST, Source, Stream
from tests.example_session import ExampleSession
from tests.sdk import make_sdk
from tests.tiny_repo import tiny_repo
from tests.unit.test_stream import Words, expected, prepare, some_words

pytestmark = pytest.mark.own_exports

HEAD = """
import atexit, gc, itertools, os, sys, threading, time
from QEfficient import QEFFAutoModel

model = QEFFAutoModel.from_pretrained(sys.argv[1])
texts = [f"text {number} " + "word " * (number % 9) for number in range(1500)]
vectors = model.encode_iter(itertools.cycle(texts))
"""
ENDS = {  # what the program does → its exit code, and what it prints
    "the last line": ("next(vectors)", 0, ""),
    "sys.exit": ("next(vectors); sys.exit(3)", 3, ""),
    "from within a loop": ("for vector in vectors: sys.exit(4)", 4, ""),
    "Ctrl-C": ("next(vectors); raise KeyboardInterrupt", -signal.SIGINT, ""),
    "never begun": ("", 0, ""),
    "an iterator in a cycle": (
        "class Kept: pass\nkept = Kept(); kept.itself = kept; kept.vectors = vectors; next(vectors); del kept, vectors",
        0,
        "",
    ),
    "collected in another thread": (
        "kept = [vectors]; next(vectors); del vectors\n"
        "thread = threading.Thread(target=kept.clear); thread.start(); thread.join(); print(len(model.encode('on')))",
        0,
        "32\n",
    ),
    "begun in another thread": (
        "thread = threading.Thread(target=next, args=(vectors,)); thread.start(); thread.join()",
        0,
        "",
    ),
    "a daemon thread's": (
        "going = threading.Event()\n"
        "def work():\n"
        "    for vector in vectors: going.set()\n"
        "for _ in range(3): threading.Thread(target=lambda: [model.encode(['word ' * 50] * 2) for _ in texts], "
        "daemon=True).start()\n"
        "threading.Thread(target=work, daemon=True).start(); going.wait(60)",
        0,
        "",
    ),
    "a thread that goes on": (
        "def work():\n"
        "    threading.main_thread().join(); time.sleep(0.05)\n"
        "    print(len(list(model.encode_iter(texts))), model.encode(texts).shape)\n"
        "threading.Thread(target=work).start()",
        0,
        "1500 (1500, 32)\n",
    ),
    "a function of atexit": (
        "atexit.register(lambda: print(len(list(model.encode_iter(texts))), len(model.encode(texts))))",
        0,
        "1500 1500\n",
    ),
    "predict's bar": (
        "from QEfficient.progress import progress\n"
        "bar = progress(None, None, 'work', 'text'); bar.__enter__(); next(vectors)",
        0,
        "",
    ),
}
CARD = ("the last line", "an iterator in a cycle", "collected in another thread", "a daemon thread's")
CASES = [
    *(("onnxruntime", name) for name in ENDS),
    *(("qaic", name) for name in (*CARD, "a thread that goes on", "a function of atexit")),
    *(("openvino", name) for name in ("the last line", "a daemon thread's", "a thread that goes on")),
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    sdk = make_sdk(tmp_path_factory.mktemp("sdk") / "sdk").root
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("QEFF_QAIC_SDK", str(sdk))
        repo = tiny_repo(tmp_path_factory.mktemp("repo"), layers=1, normalize=False)
        model, found = QEFFAutoModel.from_pretrained(repo, pooling="auto"), {"sdk": sdk}
        for backend in ("onnxruntime", "openvino", "qaic"):
            model.compile(backend=backend, verify="off", seq_len=64, batch_size=4)
            found[backend] = Path(model.save_pretrained(tmp_path_factory.mktemp("saved") / backend))
    return found


@pytest.mark.parametrize(("backend", "name"), CASES, ids=lambda value: value)
def test_it_ends(programs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, backend: str, name: str) -> None:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(programs["sdk"]))
    code, wanted, said = ENDS[name]
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code, str(programs[backend])], capture_output=True, text=True, timeout=300
    )
    errors = done.stderr.splitlines()
    if name == "Ctrl-C":  # Python's own word on it, in 3.13 with the place underlined
        assert errors.pop() == "KeyboardInterrupt" and errors.pop(0).startswith("Traceback") and len(errors) <= 3
        errors = []
    assert (errors, done.returncode, done.stdout) == ([], wanted, said)


@pytest.mark.parametrize("where", ["rows", "session"])
def test_a_stream_is_closed_in_a_thread_of_its_own(where: str) -> None:
    """The garbage collector may run anywhere: in the thread that makes rows, and in those of the session."""
    stream: Stream[Words]
    read, entered, suspended, closed = (threading.Event() for _ in range(4))

    def source() -> Iterator[str]:
        yield from words
        read.set()

    def close() -> None:
        entered.set()
        assert suspended.wait(60)
        stream.close()
        closed.set()

    def rows(first: int, items: list[str]) -> Words:
        if first and where == "rows":
            close()
        return prepare(first, items)

    def before(arrays: Arrays) -> None:
        assert read.wait(60)  # so that the second window is there before the first one comes out
        if where == "session" and (arrays["input_ids"] == ord("z")).any() and not entered.is_set():
            close()

    words = [*some_words(FIRST), *["z"] * 300]
    with ExampleSession(slots=2, before=before) as session:
        stream = Stream(session, Source(source()), rows, How())
        window, arrays = next(stream)
        assert arrays["output"].tolist() == expected(words[: len(window.rows)])
        for _ in range(6000):
            if entered.wait(0.01):
                break
            stream.pump()
        suspended.set()
        assert closed.wait(60), "it waits for itself"
