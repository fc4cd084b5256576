"""Running the compiler: what it is given, what it leaves behind, and every way in which it fails."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from QEfficient import program as programs
from QEfficient.backends.qaic import QaicBackend
from QEfficient.backends.qaic.compiler import BINARY, Completed, compile_program, run_subprocess
from QEfficient.backends.qaic.sdk import Sdk
from QEfficient.cache import Cache
from QEfficient.errors import BackendUnavailableError, CompileError, OptionError, QEfficientError
from QEfficient.records import MODEL, CompileOptions, OnnxModel, Program, Target
from tests.backends.qaic.conftest import LONG, SHORT, Compile
from tests.refusals import files_up_to
from tests.sdk import FakeSdk, make_sdk

FOLDERS = {"model.onnx", "model.onnx.data", "specializations.json", "compiler.log", "qpc"}


def argument(program: Program, name: str) -> str:
    """The value of one argument that the compiler was called with."""
    record = json.loads((program.path / "qpc" / BINARY).read_bytes().partition(b"{")[2].join([b"{", b""]))
    return next(a.partition("=")[2] for a in record["arguments"] if a.startswith(f"-{name}="))


@pytest.fixture
def backend(sdk: FakeSdk) -> QaicBackend:
    return QaicBackend()  # with the real runner


def test_a_program_is_complete(compile_model: Compile, model: OnnxModel) -> None:
    program = compile_model(LONG, SHORT)
    assert {path.name for path in program.path.iterdir()} == FOLDERS
    assert "Generated binary is present at" in (program.path / "compiler.log").read_text()
    manifest = program.manifest
    assert (manifest.shapes, manifest.sdk, manifest.graph.binary) == ((SHORT, LONG), "1.22.0", "qpc")
    assert program.binary_path and (program.binary_path / BINARY).is_file()
    written = json.loads((program.path / "specializations.json").read_text())
    assert [entry["name"] for entry in written["specializations"]] == ["Embedding_0", "Embedding_1"]


def test_a_program_survives_its_manifest(compile_model: Compile, tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("FP32NodeInstanceNames: [states]\n")
    program = programs.write(compile_model(mos=[1, 2], node_precision_info=nodes))
    loaded = programs.load(program.path, check=True)
    assert loaded.manifest.options == CompileOptions(
        flags={"mos": [1, 2]}, files={"node_precision_info": Path("options/0-nodes.yaml")}
    )


def test_option_files_are_copied_and_the_copy_is_compiled(compile_model: Compile, tmp_path: Path) -> None:
    nodes = tmp_path / "nodes.yaml"
    nodes.write_text("FP32NodeInstanceNames: [states]\n")
    program = compile_model(node_precision_info=nodes)
    copy = program.path / program.manifest.options.files["node_precision_info"]
    assert copy.read_bytes() == nodes.read_bytes() and copy.is_relative_to(program.path)
    assert argument(program, "node-precision-info") == str(copy)


@pytest.mark.parametrize("end", ["slash", "space"])
def test_odd_paths(end: str, backend: QaicBackend, model: OnnxModel, tmp_path: Path) -> None:
    workdir = tmp_path / ("a b; $(false) 'c'" if end == "space" else "a=b,c")
    workdir.mkdir()
    program = backend.compile({MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 4), CompileOptions(), workdir)
    assert (workdir / "qpc" / BINARY).is_file() and program.path == workdir


def test_a_partition_file_for_several_devices(compile_model: Compile) -> None:
    program = compile_model(devices=2)
    written = json.loads(Path(argument(program, "mdp-load-partition-config")).read_text())
    assert len(written["partitions"][0]["devices"]) == 2


def test_the_users_partition_file_takes_its_place(compile_model: Compile, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    devices = [{"deviceId": i, "numCores": 4} for i in range(2)]
    own.write_text(json.dumps({"partitions": [{"name": "P", "devices": devices}]}))
    program = compile_model(devices=2, mdp_load_partition_config=own)
    assert argument(program, "mdp-load-partition-config").endswith("options/0-own.json")
    with pytest.raises(OptionError, match="num_devices=2"):
        compile_model(name="other", devices=1, mdp_load_partition_config=own)


FAILURES = {
    "unsupported": (1, "Einsum"),
    "crash": (-signal.SIGSEGV, "signal 11"),
    "no_file": (0, "wrote no programqpc.bin"),
    "empty_file": (0, "wrote no programqpc.bin"),
    "partial": (1, "compiler failed"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_keeps_all_and_leaves_nothing(
    failure: str, sdk: FakeSdk, compile_model: Compile, tmp_path: Path
) -> None:
    sdk.set(compiler_failure=failure)
    code, text = FAILURES[failure]
    with pytest.raises(CompileError) as caught:
        compile_model()
    error = caught.value
    assert error.exit_code == code and text in error.what and error.do
    assert error.command[0] == str(sdk.compiler) and "-aic-hw" in error.command
    assert not (tmp_path / "program" / "qpc").exists()
    assert error.log_file and Path(error.log_file).is_relative_to(tmp_path / "qeff_home" / "logs")
    assert Path(error.log_file).read_text() in (error.stdout + error.stderr, error.stderr + error.stdout)
    if failure == "unsupported":
        assert "Error message:" in error.stderr and "Einsum" in str(error)


def test_an_option_that_this_sdk_does_not_know(compile_model: Compile) -> None:
    with pytest.raises(CompileError, match="does not know an option") as caught:
        compile_model(raw_compiler_flags=["-very-new"])
    assert "Invalid option -very-new" in caught.value.stderr


def test_a_compiler_that_can_not_be_started(sdk: FakeSdk, compile_model: Compile) -> None:
    sdk.compiler.write_text("#!/nowhere/python\n")
    with pytest.raises(CompileError, match="can't be started"):
        compile_model()


def gone(pid: int) -> bool:
    """Whether a process has ended. One that nobody waited for yet has ended too."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_timeout_ends_the_compiler_and_its_helpers(
    sdk: FakeSdk, compile_model: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk.set(compiler_failure="hang")
    monkeypatch.setenv("QEFF_COMPILE_TIMEOUT", "3")
    with pytest.raises(CompileError, match="stopped after 3 s") as caught:
        compile_model()
    assert caught.value.exit_code is None and "QEFF_COMPILE_TIMEOUT" in str(caught.value.do)
    helper = re.search(r"helper (\d+)", caught.value.stdout)
    assert helper and gone(int(helper[1]))


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_the_compiler_and_its_helpers(tmp_path: Path, presses: int) -> None:
    """In a child process, since the signal goes to a whole program. The compiler ignores a polite request to end."""
    code = """
import sys
from pathlib import Path
from QEfficient.backends.qaic.compiler import compile_program, run_subprocess
slow = "import pathlib, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
slow += "pathlib.Path('qpc').mkdir(); pathlib.Path('qpc/constants.bin').write_bytes(b'half');"
slow += "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
slow += "print(p.pid, flush=True); time.sleep(600)"
folder = Path(sys.argv[1])
compile_program(
    [sys.executable, "-c", slow], outdir=folder / "qpc", workdir=folder, title="", timeout=None, runner=run_subprocess
)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "compiler.log"
    for _ in range(600):
        if log.exists() and log.read_text().strip():
            break
        time.sleep(0.1)
    helper = int(log.read_text())
    group = os.getpgid(helper)
    assert not gone_now(helper) and not gone_now(group)
    start = time.monotonic()
    for _ in range(presses):
        child.send_signal(signal.SIGINT)
        time.sleep(1)
    _, stderr = child.communicate(timeout=60)
    assert "KeyboardInterrupt" in stderr and child.returncode != 0
    assert gone(helper) and gone(group)
    assert not (tmp_path / "qpc").exists()
    assert presses == 1 or time.monotonic() - start < 4.5  # it was not waited for


def gone_now(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


ENDED = """
import os, signal, sys, threading, time
from pathlib import Path
from QEfficient.backends.qaic import QaicBackend
from QEfficient.cache import Cache
from QEfficient.records import MODEL, Shape, Target
from tests import tiny_graphs

folder = Path(sys.argv[1])
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests by nohup ignores it

def fork_later():  # a worker, such as multiprocessing forks, that lives on
    while not any("helper" in log.read_text() for log in folder.rglob("compiler.log")):
        time.sleep(0.05)  # not while it is being started: a fork of that moment would hold its pipes
    if not os.fork():
        (folder / "forked").write_text(str(os.getpid()))
        time.sleep(600)

threading.Thread(target=fork_later, daemon=True).start()
backend = QaicBackend()
model, target = tiny_graphs.make(folder / "graph"), Target("qaic", "fp16", 4, 1)
build = lambda work: backend.compile({MODEL: model}, {MODEL: (Shape(8, 2),)}, target, backend.parse_options({}), work)
Cache(folder / "home").get_or_build("tiny", "program", {"key": 1}, build)
"""


def test_the_compiler_does_not_outlive_us(sdk: FakeSdk, tmp_path: Path) -> None:
    """However the process ends, also by a signal that it never sees, and whoever else it has forked."""
    sdk.set(compiler_failure="hang")
    children = {}
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP):
        (tmp_path / number.name).mkdir()
        command = [sys.executable, "-c", ENDED, str(tmp_path / number.name)]
        children[number] = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])})
    for number, child in children.items():
        folder = tmp_path / number.name
        helper, forked = None, folder / "forked"
        for _ in range(1200):
            texts = [log.read_text() for log in folder.rglob("compiler.log")]
            helper = re.search(r"helper (\d+)\n", "".join(texts))
            if helper and forked.exists() and forked.read_text():
                break
            assert child.poll() is None
            time.sleep(0.05)
        assert helper
        group = os.getpgid(int(helper[1]))
        assert group != os.getpgid(child.pid) and not gone_now(int(helper[1]))
        child.send_signal(number)
        assert child.wait(60) == -number
        try:
            assert gone(int(helper[1])) and gone(group)
        finally:
            os.kill(int(forked.read_text()), signal.SIGKILL)
        cache = Cache(folder / "home")
        assert os.listdir(cache.home / "tmp") and cache.sweep() == 1 and not os.listdir(cache.home / "tmp")


def test_output_reaches_the_log_as_it_comes(tmp_path: Path) -> None:
    code = "import sys, time; print('first', flush=True); time.sleep(600)"
    log = tmp_path / "log"
    started: list[Completed] = []
    command = [sys.executable, "-c", code]
    thread = threading.Thread(
        target=lambda: started.append(run_subprocess(command, cwd=tmp_path, log=log, timeout=2, title="slow"))
    )
    thread.start()
    seen = ""
    while thread.is_alive() and not seen:
        seen = log.read_text() if log.exists() else ""
        time.sleep(0.02)
    assert seen == "first\n" and thread.is_alive()
    thread.join()
    assert started == [Completed(None, "first\n", "")]


def test_much_output_on_both_streams(tmp_path: Path) -> None:
    code = "import sys\nfor i in range(20000): print('out', i); print('err', i, file=sys.stderr)"
    log = tmp_path / "log"
    done = run_subprocess([sys.executable, "-c", code], cwd=tmp_path, log=log, timeout=60, title="")
    assert done.exit_code == 0 and len(log.read_text().splitlines()) == 40000
    assert done.stdout.splitlines()[-1] == "out 19999" and len(done.stderr.splitlines()) == 1000


def test_nothing_is_drawn_where_there_is_no_terminal(compile_model: Compile, capfd: pytest.CaptureFixture[str]) -> None:
    compile_model(SHORT)
    assert capfd.readouterr() == ("", "")


def test_stale_output_is_removed(backend: QaicBackend, model: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / "work" / "qpc").mkdir(parents=True)
    (tmp_path / "work" / "qpc" / BINARY).write_bytes(b"old")
    backend.compile({MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 4), CompileOptions(), tmp_path / "work")
    assert (tmp_path / "work" / "qpc" / BINARY).read_bytes() != b"old"


def test_too_many_cores_are_refused_before_compiling(sdk: FakeSdk, model: OnnxModel, tmp_path: Path) -> None:
    def never(argv: Sequence[str], **kw: Any) -> Completed:
        raise AssertionError("the compiler was started")

    sdk.set(devices=[{"qid": 0, "status": "Ready", "nsp_total": 14, "busy": 0}])
    with pytest.raises(OptionError) as caught:
        QaicBackend(runner=never).compile(
            {MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 16), CompileOptions(), tmp_path
        )
    assert "num_cores=14" in str(caught.value.do) and caught.value.got == 16


def test_each_device_of_a_program_needs_the_cores(sdk: FakeSdk, compile_model: Compile) -> None:
    sdk.set(devices=[{"qid": i, "status": "Ready", "nsp_total": n, "busy": 0} for i, n in enumerate((16, 14))])
    assert compile_model(SHORT, cores=16, devices=1)
    with pytest.raises(OptionError, match="num_cores=14"):
        compile_model(SHORT, name="both", cores=16, devices=2)


def test_a_host_without_devices_compiles_for_any_number(sdk: FakeSdk, compile_model: Compile) -> None:
    sdk.set(devices=[])
    assert compile_model(cores=16).manifest.target.cores == 16


@pytest.mark.parametrize("compute", ["fp16", "fp32"])
def test_precision(compile_model: Compile, compute: str) -> None:
    program = compile_model(compute=compute)
    assert program.manifest.target.compute == compute


def test_what_can_not_be_compiled(backend: QaicBackend, model: OnnxModel, tmp_path: Path) -> None:
    for target, buckets in ((Target("qaic", "int4"), [SHORT]), (Target("qaic", "fp16"), [])):
        with pytest.raises(OptionError):
            backend.compile({MODEL: model}, {MODEL: buckets}, target, CompileOptions(), tmp_path / "work")


def test_the_key_holds_sdk_and_hardware(sdk: FakeSdk, backend: QaicBackend) -> None:
    assert backend.version() == "1.22.0 ai100"
    sdk.set(image_variant="AIC200.FW")
    sdk.set_version("1.23.0")
    assert backend.version() == "1.23.0 ai200"


def test_another_hardware_generation_is_asked_for(compile_model: Compile) -> None:
    assert argument(compile_model(aic_hw_version="ai200"), "aic-hw-version") == "ai200"


def test_the_old_compiler_has_its_own_name_of_the_hardware(tmp_path: Path, model: OnnxModel) -> None:
    backend = QaicBackend(sdk=Sdk(make_sdk(tmp_path / "old", generation="old").root))
    for wanted in ("ai100", "2.0"):
        (tmp_path / wanted).mkdir()
        options = backend.parse_options({"aic_hw_version": wanted})
        program = backend.compile(
            {MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 4), options, tmp_path / wanted
        )
        assert argument(program, "aic-hw-version") == "2.0"
    (tmp_path / "ai200").mkdir()
    with pytest.raises(OptionError, match="ai200"):
        options = backend.parse_options({"aic_hw_version": "ai200"})
        backend.compile({MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 4), options, tmp_path / "ai200")


def test_without_a_version_the_key_holds_the_compiler_itself(sdk: FakeSdk, backend: QaicBackend) -> None:
    for name in ("apps", "platform"):
        (sdk.root / "versions" / f"{name}.xml").unlink()
    first = backend.version()
    assert first.startswith("unknown ") and backend.version() == first
    sdk.compiler.write_text(sdk.compiler.read_text() + "# another release")
    assert backend.version() != first


def test_an_option_file_that_is_gone(backend: QaicBackend, model: OnnxModel, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    options = CompileOptions(files={"node_precision_info": tmp_path / "gone.yaml"})
    with pytest.raises(OptionError, match=r"gone\.yaml"):
        backend.compile({MODEL: model}, {MODEL: [SHORT]}, Target("qaic", "fp16", 4), options, tmp_path / "work")


def test_no_compiler(sdk: FakeSdk, compile_model: Compile) -> None:
    sdk.compiler.unlink()
    with pytest.raises(BackendUnavailableError, match="QEFF_QAIC_SDK") as caught:
        compile_model()
    assert "onnxruntime" in str(caught.value.do)


def test_a_full_disk_while_the_log_is_kept(sdk: FakeSdk, compile_model: Compile, tmp_path: Path) -> None:
    (tmp_path / "qeff_home").mkdir(exist_ok=True)
    (tmp_path / "qeff_home" / "logs").write_text("a file where the folder should be")
    sdk.set(compiler_failure="unsupported")
    with pytest.raises(QEfficientError, match="Einsum") as caught:
        compile_model()
    assert isinstance(caught.value, CompileError) and caught.value.log_file is None
    assert os.listdir(tmp_path / "program").count("qpc") == 0


def test_a_log_that_takes_no_more_does_not_hold_the_compiler_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "for n in range(9): print('line', n, flush=True)"]
    for log in (tmp_path / "log", tmp_path / "no folder" / "log"):
        with files_up_to(10):
            done = run_subprocess(command, cwd=tmp_path, log=log, timeout=60, title="")
        assert done == Completed(0, "".join(f"line {n}\n" for n in range(9)), "")


def test_a_compiler_without_room_says_so(tmp_path: Path) -> None:
    text = f"QAIC_ERROR: write failed: {os.strerror(errno.ENOSPC)}\n"

    def full(argv: Sequence[str], **kw: Any) -> Completed:
        return Completed(1, "", text)

    with pytest.raises(CompileError, match="could not write: No space") as caught:
        compile_program(["x"], outdir=tmp_path / "qpc", workdir=tmp_path, title="", timeout=None, runner=full)
    assert caught.value.stderr == text and "QEFF_HOME" in str(caught.value.do)
