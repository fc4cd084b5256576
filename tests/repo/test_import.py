"""`import QEfficient` does nothing: no heavy package, no environment variable, nothing patched."""

import json
from pathlib import Path

import pytest

from tests.repo.conftest import Child

SCRIPT = """
import json, os, sys, warnings, logging, importlib.metadata
preloaded = {preload}
for name in preloaded:
    __import__(name)

def state():
    return dict(
        environment=dict(os.environ), path=list(sys.path), meta_path=[repr(f) for f in sys.meta_path],
        path_hooks=[repr(f) for f in sys.path_hooks], filters=[repr(f) for f in warnings.filters],
        handlers=[repr(h) for h in logging.getLogger().handlers], level=logging.getLogger().level,
        excepthook=id(sys.excepthook), cwd=os.getcwd(),
    )

def attributes():
    modules = dict(sys.modules)
    return {{
        (name, key): id(value)
        for name, module in modules.items()
        for key, value in list(vars(module).items())
        # a submodule that something imports is set on its package by Python itself
        if not isinstance(value, type(sys)) and name != "__main__"
    }}

modules, before, patched = set(sys.modules), state(), attributes()
import QEfficient
after, now = state(), attributes()
print(json.dumps(dict(
    new=sorted(set(sys.modules) - modules),
    changed=[key for key in before if before[key] != after[key]],
    patched=sorted(".".join(key) for key, value in patched.items() if now.get(key) != value),
)))
"""

FORBIDDEN = {"torch", "transformers", "onnx", "onnx_ir", "huggingface_hub", "onnxruntime", "numpy", "tokenizers"}


def facts(child: Child, cwd: Path, preload: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(child(["-c", SCRIPT.format(preload=preload)], cwd=cwd).stdout)
    return found


def test_import_loads_no_heavy_package(child: Child, tmp_path: Path) -> None:
    new = facts(child, tmp_path, ())["new"]
    assert "QEfficient" in new
    assert not {name.partition(".")[0] for name in new} & FORBIDDEN


def test_import_loads_nothing_of_its_own_but_errors(child: Child, tmp_path: Path) -> None:
    ours = {name for name in facts(child, tmp_path, ())["new"] if name.startswith("QEfficient")}
    assert ours <= {"QEfficient", "QEfficient.errors"}


@pytest.mark.parametrize(
    "preload", [(), ("numpy", "onnxruntime", "torch", "transformers")], ids=["bare", "beside-torch"]
)
def test_import_changes_nothing(child: Child, tmp_path: Path, preload: tuple[str, ...]) -> None:
    found = facts(child, tmp_path, preload)
    assert found["changed"] == []
    assert found["patched"] == []


def test_a_patch_would_be_seen(child: Child, tmp_path: Path) -> None:
    """The check above is no empty one: a package that patches is caught by it."""
    package = tmp_path / "QEfficient"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os, json, warnings\n"
        "os.environ['SOME_NAME'] = '1'\njson.dumps2 = json.dumps\njson.dumps = lambda *a, **k: json.dumps2(*a, **k)\n"
        "warnings.simplefilter('ignore')\n"
    )
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + SCRIPT.format(preload=())
    found = json.loads(child(["-c", script], cwd=tmp_path).stdout)
    assert found["changed"] == ["environment", "filters"]
    assert "json.dumps" in found["patched"]
