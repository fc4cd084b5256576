"""What the card's tests share: fake SDKs, and compiled programs that are made once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from QEfficient.backends.qaic import QaicBackend
from QEfficient.backends.qaic.compiler import BINARY, Completed, run_subprocess
from QEfficient.records import MODEL, OnnxModel, Program, Shape, Target
from tests import tiny_graphs
from tests.sdk import FakeSdk, make_sdk

SHORT, LONG = Shape(8, 2), Shape(16, 2)
Compile = Callable[..., Program]


class Remembering:
    """A runner that runs the fake compiler once for equal arguments and equal files, then copies what it wrote.

    Starting a Python takes longer than the compiler's work on a tiny graph.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, argv: Sequence[str], *, cwd: Path, log: Path, timeout: float | None, title: str) -> Completed:
        key = self.folder / self._key(argv, cwd)
        outdir = Path(argv[-1].partition("=")[2])
        if key.is_dir():
            shutil.copytree(key, outdir)
            return Completed(0, "", "")
        done = run_subprocess(argv, cwd=cwd, log=log, timeout=timeout, title=title)
        if done.exit_code == 0 and (outdir / BINARY).is_file():
            shutil.copytree(outdir, key)
        return done

    def _key(self, argv: Sequence[str], cwd: Path) -> str:
        digest = hashlib.sha256((Path(argv[0]).parents[1] / "control.json").read_bytes())
        for argument in argv[1:]:
            digest.update(argument.replace(str(cwd), "").encode())
            path = Path(argument.partition("=")[2])
            digest.update(path.read_bytes() if path.is_file() else b"")
        return digest.hexdigest()


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Remembering:
    return Remembering(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSdk:
    """A new SDK with one device of 16 cores, which the settings name."""
    made = make_sdk(tmp_path / "sdk")
    monkeypatch.setenv("QEFF_QAIC_SDK", str(made.root))
    return made


@pytest.fixture
def backend(sdk: FakeSdk, runner: Remembering) -> QaicBackend:
    return QaicBackend(runner=runner)


@pytest.fixture
def model(tmp_path: Path) -> OnnxModel:
    return tiny_graphs.make(tmp_path / "graph")


@pytest.fixture
def compile_model(backend: QaicBackend, model: OnnxModel, tmp_path: Path) -> Compile:
    """Compiles the tiny graph: ``compile_model(SHORT, LONG, cores=4, mos=1)``."""

    def compile_model(
        *buckets: Shape, name: str = "program", graph: OnnxModel = model, cores: int = 4, devices: int = 1, **kw: Any
    ) -> Program:
        (tmp_path / name).mkdir()
        target = Target("qaic", kw.pop("compute", "fp16"), cores, devices)
        options = backend.parse_options(kw)
        return backend.compile({MODEL: graph}, {MODEL: buckets or (SHORT, LONG)}, target, options, tmp_path / name)

    return compile_model


@pytest.fixture
def program(compile_model: Compile) -> Program:
    """Two shapes, 4 cores, one device, fp16."""
    return compile_model()
