"""A fake Qualcomm Cloud AI SDK: a compiler, ``qaic-util``, ``qaicrt`` and ``QAicApi_pb2`` that need no card.

``make_sdk(root)`` lays out a tree that looks like ``/opt/qti-aic``. The parts are strict: they fail where the real
ones are known to fail, and where nothing is known they take the stricter of two readings. What a test sets through
``FakeSdk.set`` is read by every part at its next step:

    devices            list of {"qid", "status", "nsp_total", "busy"}; "busy" cores are taken by another process
    image_variant      firmware image that qaic-util shows
    device_time_ms     time that one inference takes; or {"0": 5, "1": 20}, by device
    fail_after         {"0": 10}: the device fails for good after so many inferences
    poison             a number; an inference fails, on any device, when an input holds it
    in_place           whether setData takes arrays too, which are used in place; so by default in the new generation
    compute            "emulate": the graph in emulated fp16; "digest": a cheap function of the real tokens; "echo": one
                       at no cost, with one timer thread for all devices
    binding_dims       "largest" or "first": what a program with several shapes gives as its binding dims
    dram_unit          "MB" or "KB"
    compiler_failure   "unsupported", "crash", "no_file", "empty_file", "partial" or "hang"
    status             method → QStatus name that it answers, {"enqueue": "QS_BUSY"}
    throw              class or method → text that it throws
    late_nsp_failure   too few cores show when an ExecObj is made, not at activate()
    wrong_size         bindings state a size that is not that of their dims
    wrong_type         allowed shapes state another type than their bindings
    short_output       results are one byte short
    out_of_order       later inferences may finish first
    util_hang          seconds that qaic-util takes

Of programs with retained state:

    entry_time_ms      what a run takes by its entry's name, beside device_time_ms: {"Prefill": 20, "Decode": 3}
    state_at_start     "garbage", which is NaN bit patterns, or "zeros"
    lost_slots         "named" or "all": which slots a failed or timed-out run leaves as garbage
    mxint8_type        number of the type that bindings of MXINT8 state give: 8 (int8) by default; which is not known
    mxint8_axis        axis along which 32 values share a scale: the last by default; which is not known
    partial_state      whether bindings of state may be skipped
    partial_others     whether other bindings may
    float16_logits     the binding "logits" is float16
    highest_opset      newer graphs are refused
"""

from __future__ import annotations

import json
import platform
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "parts"
COMPILERS = {"new": "qaic-compile", "old": "qaic-exec"}
VERSIONS = {"new": "1.22.0", "old": "1.20.2"}
CONTROL, COUNTER = "control.json", "control.counter"  # the switches; how often they were set


@dataclass(frozen=True)
class FakeSdk:
    """A laid-out tree, and the switches of its parts."""

    root: Path
    generation: str

    def set(self, **switches: Any) -> None:
        """Change switches; they hold from the next step of any part, in this process or another."""
        path = self.root / CONTROL
        control = json.loads(path.read_text()) | switches
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(control))
        aside.replace(path)
        with open(self.root / COUNTER, "r+b") as file:  # in place: the runtime has this very file mapped
            count = int.from_bytes(file.read(), "little") + 1
            file.seek(0)
            file.write(count.to_bytes(8, "little"))

    def set_version(self, version: str) -> None:
        """What both halves of the SDK say they are."""
        for name in ("apps", "platform"):
            build = f"<base_version>{version}</base_version><build_id>7</build_id>"
            text = f"<versions><ci_build>{build}</ci_build></versions>"
            (self.root / "versions" / f"{name}.xml").write_text(text)

    @property
    def library_folder(self) -> Path:
        return self.root / "dev" / "lib" / platform.machine()

    @property
    def api_file(self) -> Path:
        return self.root / "dev" / "python" / "QAicApi_pb2.py"

    @property
    def compiler(self) -> Path:
        return self.root / "exec" / COMPILERS[self.generation]


def make_sdk(
    root: Path,
    *,
    generation: str = "new",
    devices: int | Sequence[dict[str, Any]] = 1,
    nsp: int = 16,
    version: str | None = None,
    **switches: Any,
) -> FakeSdk:
    """Lay out an SDK below ``root``.

    Args:
        root: The folder that stands for ``/opt/qti-aic``.
        generation: ``"new"`` has qaic-compile and ``dataPathTimeoutMs``, ``"old"`` qaic-exec and
            ``SubmitRetryTimeoutMs``.
        devices: How many ready devices, or the list itself.
        nsp: Cores of each, when ``devices`` is a number.
        version: Version of both halves; one of the generation by default.
        switches: First values, see this module's docstring.
    """
    sdk = FakeSdk(root, generation)
    for folder in ("exec", "tools", "versions", "dev/python"):
        (root / folder).mkdir(parents=True)
    sdk.library_folder.mkdir(parents=True)
    _script(PARTS / "compiler.py", sdk.compiler)
    _script(PARTS / "util.py", root / "tools" / "qaic-util")
    for helper in ("emulate.py", "bounds.py"):
        shutil.copy(PARTS / helper, root / "exec" / helper)
    shutil.copy(PARTS / "runtime.py", sdk.library_folder / "qaicrt.py")
    for part in ("card", "state"):
        shutil.copy(PARTS / f"{part}.py", sdk.library_folder / f"fake_{part}.py")
    shutil.copy(PARTS / "api.py", sdk.api_file)
    sdk.set_version(version or VERSIONS[generation])
    if isinstance(devices, int):
        devices = [{"qid": qid, "status": "Ready", "nsp_total": nsp, "busy": 0} for qid in range(devices)]
    (root / CONTROL).write_text("{}")
    (root / COUNTER).write_bytes(bytes(8))
    sdk.set(generation=generation, devices=list(devices), **switches)
    return sdk


def _script(source: Path, target: Path) -> None:
    """An executable that this very Python runs."""
    target.write_text(f"#!{sys.executable}\n{source.read_text()}")
    target.chmod(target.stat().st_mode | stat.S_IXUSR)
