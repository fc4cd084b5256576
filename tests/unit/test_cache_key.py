"""The cache cannot lie: each ingredient of the key, flipped alone, must miss; an identical rerun must hit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from QEfficient import QEFFAutoModel, cache
from QEfficient.backends.card_options import TABLE, Option
from tests.tiny_repo import tiny_repo

pytestmark = [pytest.mark.slow, pytest.mark.own_exports]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for the whole module: an entry that a test finds again was keyed as it should be."""
    monkeypatch.setenv("QEFF_HOME", str(home))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"), layers=1)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each real export."""
    from QEfficient.build import torch_graph

    seen: list[str] = []
    real = torch_graph.export_graph

    def counted(*args: Any, **keywords: Any) -> Any:
        seen.append("export")
        return real(*args, **keywords)

    monkeypatch.setattr(torch_graph, "export_graph", counted)
    return seen


def program(repo: Path, pooling: Any = "mean", load: dict[str, Any] | None = None, **keywords: Any) -> str:
    model = QEFFAutoModel.from_pretrained(repo, pooling, **(load or {}))
    model.compile(**({"seq_len": 32, "verify": "off"} | keywords))
    path = model.program_path
    assert path is not None
    return path


def entry(repo: Path, monkeypatch: pytest.MonkeyPatch, **keywords: Any) -> Path:
    """The cache entry that a plain compile looks up, without compiling."""

    class Found(Exception):
        pass

    def stop(self: cache.Cache, name: str, stage: str, ingredients: Any, build: Any) -> Any:
        raise Found(self.entry_path(name, stage, ingredients))

    with monkeypatch.context() as patch:
        patch.setattr(cache.Cache, "get_or_build", stop)
        with pytest.raises(Found) as found:
            program(repo, **keywords)
    return Path(found.value.args[0])


def test_the_entry_looked_up_is_the_program_s(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(entry(repo, monkeypatch)) == program(repo)


def test_an_identical_rerun_hits_and_does_not_export(
    repo: Path, exports: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "cold"))
    first = program(repo)
    assert exports == ["export"]
    assert program(repo) == first
    assert exports == ["export"]


def test_running_the_torch_model_does_not_change_the_key(repo: Path, exports: list[str]) -> None:
    model = QEFFAutoModel.from_pretrained(repo, "mean")
    model.compile(seq_len=32, verify="off")
    before = model.program_path
    exports.clear()
    model.generate({"input_ids": [[101, 102]]}, runtime_ai100=False)
    model.compile(seq_len=32, verify="off")
    assert model.program_path == before
    assert not exports


KEYWORDS: list[tuple[str, dict[str, Any]]] = [
    ("seq_len", {"seq_len": [32, 64]}),
    ("batch_size", {"batch_size": 2}),
    ("num_cores", {"num_cores": 4}),
    ("num_devices", {"num_devices": 2}),
    ("mxfp6_matmul", {"mxfp6_matmul": True}),
    ("use_onnx_subfunctions", {"use_onnx_subfunctions": True}),
    ("a compiler option", {"mos": 1}),
    ("another value of the option", {"mos": 2}),
    ("a raw flag", {"raw_compiler_flags": ["-x=1"]}),
    ("verify", {"verify": "on"}),
    ("pooling mode", {"pooling": "max"}),
    ("no pooling", {"pooling": None}),
    ("the repo's own head", {"pooling": "auto"}),
    ("a loading keyword", {"load": {"layer_norm_eps": 1e-6}}),
    ("dtype", {"load": {"dtype": "float16"}}),
]


@pytest.mark.parametrize("changed", [k for _, k in KEYWORDS], ids=[name for name, _ in KEYWORDS])
def test_a_changed_argument_misses(repo: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]) -> None:
    before = entry(repo, monkeypatch)
    assert entry(repo, monkeypatch, **changed) != before
    assert entry(repo, monkeypatch) == before


def sample(option: Option, folder: Path) -> Any:
    """A value that the option takes, other than its default."""
    file = folder / "option-file"
    file.write_text(json.dumps({"partitions": []}))
    number = int(option.low if option.low is not None else 1) + (1 if option.low == 0 else 0)
    values = {"flag": True, "switch": False, "int": number, "float": number, "names": ["a"], "numbers": [number]}
    values |= {"text": option.choices[-1] if option.choices else "a", "path": str(folder / "out"), "file": str(file)}
    return values[option.kind]


@pytest.mark.parametrize("option", TABLE.values(), ids=TABLE)
def test_every_documented_option_is_in_the_key(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: Option
) -> None:
    before = entry(repo, monkeypatch)
    assert entry(repo, monkeypatch, **{option.name: sample(option, tmp_path)}) != before


def flip_weights(repo: Path) -> None:
    shutil.rmtree(repo / "1_Pooling")
    tiny_repo(repo, layers=1, seed=1)


def flip_config(repo: Path) -> None:
    file = repo / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_eps": 1e-5}))


def flip_tokenizer(repo: Path) -> None:
    file = repo / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"]["lowercase"] = not content["normalizer"]["lowercase"]
    file.write_text(json.dumps(content))


def flip_limit(repo: Path) -> None:
    (repo / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": False}))


@pytest.mark.parametrize("flip", [flip_weights, flip_config, flip_tokenizer, flip_limit])
def test_changed_content_of_a_model_file_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flip: Callable[[Path], None]
) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    tiny_repo(folder, layers=1)
    before = entry(folder, monkeypatch)
    flip(folder)
    assert entry(folder, monkeypatch) != before


def test_the_content_of_an_option_s_file_counts_not_its_path(repo: Path, tmp_path: Path) -> None:
    file = tmp_path / "precision.yaml"
    file.write_text("FP32NodeInstanceNames: [a]\n")
    before = program(repo, node_precision_info=str(file))
    same = tmp_path / "elsewhere.yaml"
    same.write_text(file.read_text())
    assert program(repo, node_precision_info=str(same)) == before
    file.write_text("FP32NodeInstanceNames: [b]\n")
    assert program(repo, node_precision_info=str(file)) != before


@pytest.mark.parametrize(
    "package", ["QEfficient", "torch", "transformers", "onnx", "onnx-ir", "onnxscript", "onnxruntime"]
)
def test_another_version_of_a_package_misses(repo: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    before = entry(repo, monkeypatch)
    real = cache.library_versions()
    assert package in real
    changed = real | {package: "999.0"}
    for module in ("source.recipe", "build.graph_stage"):
        monkeypatch.setattr(f"QEfficient.{module}.library_versions", lambda: changed)
    assert entry(repo, monkeypatch) != before


def test_another_version_of_the_backend_misses(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from QEfficient.backends.onnxruntime import OnnxRuntimeBackend

    before = entry(repo, monkeypatch)
    monkeypatch.setattr(OnnxRuntimeBackend, "version", lambda self: "999.0")
    assert entry(repo, monkeypatch) != before


def first_token(states: Any, mask: Any) -> Any:
    return states[:, 0]


def first_token_doubled(states: Any, mask: Any) -> Any:
    return states[:, 0] * 2


def test_pooling_code_is_keyed_by_the_graph_it_exports_to(repo: Path, exports: list[str]) -> None:
    before = program(repo, first_token)
    assert program(repo, first_token) == before  # exported again, compiled once
    assert len(exports) == 2
    assert program(repo, lambda states, mask: states[:, 0]) == before
    assert program(repo, first_token_doubled) != before


def test_a_model_that_was_handed_out_is_hashed_by_its_tensors(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, "mean")
    model.compile(seq_len=32, verify="off")
    before = model.program_path
    weight = model.model.encoder.layer[0].output.dense.weight
    model.compile(seq_len=32, verify="off")
    untouched = model.program_path
    weight.data[0, 0] += 1
    model.compile(seq_len=32, verify="off")
    assert len({before, untouched, model.program_path}) == 3
    weight.data[0, 0] -= 1
    model.model.encoder.layer[0].attention.self.scaling = 0.5
    model.compile(seq_len=32, verify="off")
    assert model.program_path not in (before, untouched)


def test_a_module_in_memory_is_keyed_by_its_tensors(repo: Path) -> None:
    from transformers import AutoModel

    module = AutoModel.from_pretrained(repo)

    def compiled() -> str | None:
        model = QEFFAutoModel(module, "mean")
        model.compile(seq_len=32, verify="off")
        return model.program_path

    first = compiled()
    assert compiled() == first
    module.pooler.dense.bias.data[0] += 1  # not even used by the graph: still another model
    assert compiled() != first


def test_a_foreign_module_is_always_exported(repo: Path, exports: list[str]) -> None:
    from torch import nn
    from transformers import AutoModel

    class Doubled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, states: Any) -> Any:
            return self.inner(states) * 2

    module = AutoModel.from_pretrained(repo)

    def compiled() -> str | None:
        model = QEFFAutoModel(module, "mean")
        model.compile(seq_len=32, verify="off")
        return model.program_path

    plain = compiled()
    module.encoder.layer[0].output.dense = Doubled(module.encoder.layer[0].output.dense)
    exports.clear()
    doubled = compiled()
    assert compiled() == doubled != plain
    assert len(exports) == 2


def test_a_patched_method_is_not_taken_for_the_class_s_own(repo: Path) -> None:
    """Not only ``forward`` decides a graph."""
    from transformers import AutoModel

    module = AutoModel.from_pretrained(repo)

    def compiled() -> str | None:
        model = QEFFAutoModel(module, "mean")
        model.compile(seq_len=32, verify="off")
        return model.program_path

    plain = compiled()
    layer = module.encoder.layer[0]
    own = layer.feed_forward_chunk
    layer.feed_forward_chunk = lambda states: own(states) * 2
    assert compiled() != plain


def variant(repo: Path, bias: float) -> dict[str, Any]:
    from transformers import BertModel

    model = BertModel.from_pretrained(repo)
    model.encoder.layer[0].output.dense.bias.data[:] = bias
    model.save_pretrained(repo, variant="other")
    return {"variant": "other"}


def torch_file(repo: Path, bias: float) -> dict[str, Any]:
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(repo)
    model.encoder.layer[0].output.dense.bias.data[:] = bias
    torch.save(model.state_dict(), repo / "pytorch_model.bin")
    return {"use_safetensors": False}


@pytest.mark.parametrize("write", [variant, torch_file])
def test_a_keyword_that_names_other_weights_is_keyed_by_them(tmp_path: Path, write: Any) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    tiny_repo(folder, layers=1)
    first = program(folder, load=write(folder, 0.5))
    assert program(folder, load=write(folder, 0.5)) == first
    assert program(folder, load=write(folder, 1.5)) != first
