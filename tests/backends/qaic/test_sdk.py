"""Finding the SDK, its versions, its Python modules and its devices."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient.backends.qaic import QaicBackend, native
from QEfficient.backends.qaic.native import Device, replicas
from QEfficient.backends.qaic.sdk import Sdk, find
from QEfficient.errors import BackendUnavailableError, DeviceError, OptionError, UsageError
from tests.sdk import FakeSdk, make_sdk


def test_the_settings_name_the_sdk(sdk: FakeSdk) -> None:
    assert find().root == sdk.root


@pytest.mark.parametrize(
    ("generation", "kind", "hardware"), [("new", "qaic-compile", "ai100"), ("old", "qaic-exec", "2.0")]
)
def test_both_generations(tmp_path: Path, generation: str, kind: str, hardware: str) -> None:
    made = make_sdk(tmp_path / "sdk", generation=generation)
    found = Sdk(made.root)
    assert found.compiler and (found.compiler.kind, found.compiler.path) == (kind, made.compiler)
    assert found.hw_version() == hardware


def test_qaic_compile_comes_first(sdk: FakeSdk) -> None:
    older = sdk.compiler.with_name("qaic-exec")
    older.write_bytes(sdk.compiler.read_bytes())
    older.chmod(0o755)
    assert (compiler := Sdk(sdk.root).compiler) and compiler.kind == "qaic-compile"
    sdk.compiler.chmod(0o644)  # there, but not to be run
    assert (compiler := Sdk(sdk.root).compiler) and compiler.kind == "qaic-exec"


def test_ai200_is_asked_of_the_firmware(sdk: FakeSdk) -> None:
    sdk.set(image_variant="AIC200.FW")
    assert Sdk(sdk.root).hw_version() == "ai200"


def test_only_a_visible_device_s_firmware_counts(sdk: FakeSdk, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "QID 0\n\tStatus:Ready\n\tFW IMAGE_VARIANT:AIC100.FW\nQID 1\n\tStatus:Ready\n\tFW IMAGE_VARIANT:AIC200.FW\n"
    monkeypatch.setattr(Sdk, "query", lambda self: text)
    found = {}
    for visible in ("", "0", "1"):
        monkeypatch.setenv("QAIC_VISIBLE_DEVICES", visible)
        found[visible] = Sdk(sdk.root).hw_version()
    assert found == {"": "ai200", "0": "ai100", "1": "ai200"}


def test_a_slow_or_absent_tool_means_ai100(sdk: FakeSdk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("QEfficient.backends.qaic.sdk._QUERY_SECONDS", 0.2)
    sdk.set(image_variant="AIC200.FW", util_hang=5)
    assert Sdk(sdk.root).hw_version() == "ai100"
    (sdk.root / "tools" / "qaic-util").unlink()
    assert Sdk(sdk.root).hw_version() == "ai100"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("<v><base_version> 1.21.6 </base_version></v>", "1.21.6"),
        ('<v xmlns="urn:x"><ci><base_version>1.20</base_version></ci></v>', "1.20"),
        ("<v><base_version/></v>", None),
        ("<v>", None),
        ("", None),
    ],
)
def test_versions(sdk: FakeSdk, text: str, version: str | None) -> None:
    (sdk.root / "versions" / "apps.xml").write_text(text)
    found = Sdk(sdk.root)
    assert found.version == (version or "1.22.0")  # the runtime's, where the compiler's half is silent
    (sdk.root / "versions" / "platform.xml").unlink()
    assert found.version == (version or "unknown")


def test_loading_leaves_the_interpreter_as_it_was(sdk: FakeSdk) -> None:
    path, modules = list(sys.path), set(sys.modules)
    runtime = native.load(Sdk(sdk.root))
    assert runtime.qaicrt.QStatus.QS_SUCCESS.value == 0 and runtime.api.INT8_TYPE == 8
    assert sys.path == path
    assert not {name for name in set(sys.modules) - modules if "qaic" in name.lower()}
    assert native.load(Sdk(sdk.root)) is runtime


def extension(sdk: FakeSdk, name: str, content: bytes = b"") -> None:
    (sdk.library_folder / "qaicrt.py").unlink()
    (sdk.library_folder / name).write_bytes(content)


def test_another_python_is_an_error_of_its_own(sdk: FakeSdk) -> None:
    extension(sdk, "qaicrt.cpython-38-x86_64-linux-gnu.so")
    with pytest.raises(BackendUnavailableError) as caught:
        native.load(Sdk(sdk.root))
    assert "Python 3.8" in str(caught.value) and platform.python_version() in str(caught.value)
    assert not (found := QaicBackend().can_run()).ok and "3.8" in found.reason and found.hint


def test_pybinds_own_complaint_names_both_versions(sdk: FakeSdk) -> None:
    text = "Python version mismatch: module was compiled for Python 3.8, but the interpreter version is incompatible"
    (sdk.library_folder / "qaicrt.py").write_text(f"raise ImportError({text!r})")
    with pytest.raises(BackendUnavailableError, match=r"Python 3\.8, running Python 3\.1"):
        native.load(Sdk(sdk.root))


@pytest.mark.parametrize("name", ["qaicrt.abi3.so", "qaicrt.so"])
def test_an_extension_that_does_not_load(sdk: FakeSdk, name: str) -> None:
    extension(sdk, name, b"not an extension")
    with pytest.raises(BackendUnavailableError, match="LD_LIBRARY_PATH"):
        native.load(Sdk(sdk.root))


def test_an_extension_that_throws_while_it_starts(sdk: FakeSdk) -> None:
    (sdk.library_folder / "qaicrt.py").write_text("raise RuntimeError('no driver')")
    with pytest.raises(BackendUnavailableError, match="no driver"):
        native.load(Sdk(sdk.root))
    assert not QaicBackend().can_run().ok


def test_no_runtime(sdk: FakeSdk) -> None:
    (sdk.library_folder / "qaicrt.py").unlink()
    with pytest.raises(BackendUnavailableError, match="Platform SDK"):
        native.load(Sdk(sdk.root))


GENCODE = """
# Protobuf Python Version: 99.1.0
from google.protobuf import runtime_version
runtime_version.ValidateProtobufRuntimeVersion(runtime_version.Domain.PUBLIC, 99, 1, 0, "", "QAicApi.proto")
"""


@pytest.mark.parametrize(
    ("code", "version"),
    [(GENCODE, "99.1.0"), ("raise TypeError('Descriptors cannot be created directly.')", "before 5.26")],
)
def test_another_protobuf_is_an_error_of_its_own(sdk: FakeSdk, code: str, version: str) -> None:
    sdk.api_file.write_text(code)
    with pytest.raises(BackendUnavailableError) as caught:
        native.load(Sdk(sdk.root))
    assert version in str(caught.value) and metadata.version("protobuf") in str(caught.value)


def test_no_api_module(sdk: FakeSdk) -> None:
    sdk.api_file.unlink()
    with pytest.raises(BackendUnavailableError, match="QAicApi_pb2"):
        native.load(Sdk(sdk.root))


MIXED = [
    {"qid": 0, "status": "Ready", "nsp_total": 16, "busy": 10},
    {"qid": 1, "status": "Error", "nsp_total": 16, "busy": 0},
    {"qid": 3, "status": "Ready", "nsp_total": 14, "busy": 0},
]
SEEN = (Device(0, True, 16, 6), Device(1, False), Device(3, True, 14, 14))


def test_devices_through_the_runtime(sdk: FakeSdk) -> None:
    sdk.set(devices=MIXED)
    assert native.devices(Sdk(sdk.root)) == SEEN


def test_devices_through_the_tool(sdk: FakeSdk) -> None:
    sdk.set(devices=MIXED)
    sdk.set(status={"getDeviceIds": "QS_ERROR"})
    assert native.devices(Sdk(sdk.root)) == SEEN
    sdk.api_file.unlink()
    assert native.devices(Sdk(sdk.root)) == SEEN


def test_only_visible_devices_are_used(sdk: FakeSdk, monkeypatch: pytest.MonkeyPatch) -> None:
    sdk.set(devices=MIXED)
    for text, seen in (("3", SEEN[2:]), (" 0, 3,9", (SEEN[0], SEEN[2])), ("", SEEN)):
        monkeypatch.setenv("QAIC_VISIBLE_DEVICES", text)
        for failure in ({}, {"getDeviceIds": "QS_ERROR"}):  # through the runtime, and through the tool
            sdk.set(status=failure)
            assert native.devices(Sdk(sdk.root)) == seen
    monkeypatch.setenv("QAIC_VISIBLE_DEVICES", "7")
    sdk.set(status={})
    found = QaicBackend().can_run()
    assert not found.ok and "QAIC_VISIBLE_DEVICES=7" in found.hint
    with pytest.raises(DeviceError, match="QAIC_VISIBLE_DEVICES=7"):
        replicas(native.devices(Sdk(sdk.root)), 1, 4, [3])


@pytest.mark.parametrize("text", ["0;1", "-1", "all", "0,,1"])
def test_a_list_of_visible_devices_that_is_none(sdk: FakeSdk, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("QAIC_VISIBLE_DEVICES", text)
    with pytest.raises(UsageError, match="QAIC_VISIBLE_DEVICES"):
        native.devices(Sdk(sdk.root))
    with pytest.raises(UsageError):  # "auto" must not take the host for it
        QaicBackend().can_run()


def test_no_devices(sdk: FakeSdk, tmp_path: Path) -> None:
    sdk.set(devices=[])
    assert native.devices(Sdk(sdk.root)) == native.devices(Sdk(tmp_path)) == ()
    assert not (found := QaicBackend().can_run()).ok and "no device" in found.reason
    assert QaicBackend().can_compile().ok


def test_a_device_that_boots_is_not_ready(sdk: FakeSdk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_AGAIN_SECONDS", 0.001)
    sdk.set(status={"getDeviceInfo": "QS_AGAIN"})
    assert native.devices(Sdk(sdk.root)) == (Device(0, ready=False),)


def test_a_query_that_fails(sdk: FakeSdk) -> None:
    sdk.set(status={"getDeviceIds": "QS_PERM"})
    with pytest.raises(DeviceError) as caught:
        native.query_devices(native.load(Sdk(sdk.root)))
    assert caught.value.status == "QS_PERM"
    assert "QS_PERM" in QaicBackend().can_run().reason
    sdk.set(throw={"Util": "no driver"})
    assert "no driver" in QaicBackend().can_run().reason


FOUR = tuple(Device(i, True, 16, 16 if i else 2) for i in range(4))


@pytest.mark.parametrize(
    ("span", "ids", "groups"),
    [
        (1, None, ((1,),)),  # device 0 has too few free cores
        (4, None, ((0, 1, 2, 3),)),
        (1, [0], ((0,),)),
        (1, [2, 0, 2], ((2,), (0,), (2,))),
        (2, [0, 1, 3, 2], ((0, 1), (3, 2))),
    ],
)
def test_groups_of_devices(span: int, ids: list[int] | None, groups: Any) -> None:
    assert replicas(FOUR, span, 4, ids) == groups


@pytest.mark.parametrize(("span", "ids"), [(1, []), (2, [0]), (2, [0, 1, 2]), (2, [1, 1])])
def test_ids_that_are_no_whole_replicas(span: int, ids: list[int]) -> None:
    with pytest.raises(OptionError, match=f"num_devices={span}"):
        replicas(FOUR, span, 4, ids)


@pytest.mark.parametrize("ids", [0, "0", [True], [0.0], ["0"], [None]])
def test_ids_that_are_no_list_of_numbers(ids: Any) -> None:
    with pytest.raises(OptionError, match="list of device ids"):
        replicas(FOUR, 1, 4, ids)


def test_numpys_numbers_are_ids(sdk: FakeSdk) -> None:
    [[found]] = replicas(FOUR, 1, 4, np.array([2]))  # type: ignore[arg-type]
    assert found == 2 and type(found) is int


@pytest.mark.parametrize(("span", "ids"), [(1, [9]), (5, None)])
def test_devices_that_are_not_there(span: int, ids: list[int] | None) -> None:
    with pytest.raises(DeviceError, match=r"\[0, 1, 2, 3\]"):
        replicas(FOUR, span, 4, ids)
