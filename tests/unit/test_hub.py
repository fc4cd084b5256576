"""Ids and paths → files: local folders, a cache in hub layout, the network's errors."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from QEfficient import hub
from QEfficient.errors import LoadError

ID = "owner/tiny-model"
SAFETENSORS = "model.safetensors"


def _example(name: str) -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder: Path, *names: str, text: str = "{}") -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = write(tmp_path / "model", "tokenizer.json", "1_Pooling/config.json", SAFETENSORS)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


@pytest.fixture
def cache(tmp_path: Path, model: Path) -> Path:
    _example("offline_hub_cache").seed(model, ID, tmp_path / "hub")
    return tmp_path / "hub"


def refusal(*args: Any, **keywords: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        hub.resolve(*args, hub.Where(**keywords))
    error = caught.value
    assert error.got and error.allowed and error.do
    return error


# ------------------------------------------------------------------------------------------------- local folders


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_taken_as_it_is(model: Path, kind: type) -> None:
    assert hub.resolve(kind(model)) == hub.ModelFiles(model, str(model))


def test_a_relative_folder_wins_over_an_id_and_becomes_absolute(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    write(model.parent / "owner" / "tiny-model", "config.json")
    assert hub.resolve("model") == hub.ModelFiles(model, "model")
    assert hub.resolve(ID, hub.Where(cache_dir=cache)) == hub.ModelFiles(model.parent / ID, ID)


def test_a_home_folder_is_expanded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(model.parent))
    assert hub.resolve("~/model").folder == model


def test_a_subfolder_of_a_folder(model: Path) -> None:
    assert hub.resolve(model.parent, hub.Where(subfolder="model")).folder == model
    assert "holds no model" in str(refusal(model.parent))
    assert "no such folder" in str(refusal(model.parent, subfolder="modle"))
    assert "leads out of" in str(refusal(model, subfolder="../model"))


def test_a_repo_of_modules_or_a_program_need_no_config(tmp_path: Path) -> None:
    for name in ("modules.json", hub.MANIFEST):
        assert hub.resolve(write(tmp_path / name, name)).folder == tmp_path / name


def test_a_misspelled_path_names_the_nearest_folder(model: Path) -> None:
    assert "Did you mean 'model'?" in str(refusal(model.parent / "modell"))
    assert refusal("").got == "an empty string"
    assert "the file" in str(refusal(model / "config.json"))
    for name in ("a/b/c", "./nope", "../nope", "~/nope", "/nope", "a--b", "owner/"):
        assert "not a repo id" in str(refusal(name))


def test_an_empty_folder_says_that_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "nothing in it" in str(refusal(tmp_path / "none"))


# ---------------------------------------------------------------------------------------------- the cache, offline


def test_a_cached_snapshot(cache: Path) -> None:
    found = hub.resolve(ID, hub.Where(cache_dir=cache))
    assert (found.name, found.repo_id) == (ID, ID)
    assert found.folder == cache / "models--owner--tiny-model" / "snapshots" / str(found.commit)
    assert hub.read_config(found.folder) == {"model_type": "bert"}
    assert hub.weight_files(found.folder) == (found.folder / SAFETENSORS,)


def test_a_commit_and_a_subfolder(cache: Path) -> None:
    commit = hub.resolve(ID, hub.Where(cache_dir=cache)).commit
    found = hub.resolve(ID, hub.Where(cache_dir=cache, revision=commit, subfolder="1_Pooling/"))
    assert found.commit == commit and found.folder.name == "1_Pooling"


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("local_files_only", [None, False])
def test_offline_flags_are_never_overruled(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, local_files_only: bool | None
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(hub, "_download", lambda *_: pytest.fail("the network was asked"))
    assert hub.resolve(ID, hub.Where(cache_dir=cache, local_files_only=local_files_only)).commit
    assert "not in the hub's cache" in str(refusal("other/model", cache_dir=cache, local_files_only=local_files_only))


def test_local_files_only_without_flags(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "_download", lambda *_: pytest.fail("the network was asked"))
    assert hub.resolve(ID, hub.Where(cache_dir=cache, local_files_only=True)).commit


def test_what_is_not_cached_names_what_is(cache: Path, tmp_path: Path) -> None:
    assert f"Did you mean '{ID}'?" in str(refusal("owner/tiny-modle", cache_dir=cache))
    assert f"another revision of {ID}" in str(refusal(ID, cache_dir=cache, revision="v2"))
    assert "nothing" in str(refusal(ID, cache_dir=tmp_path / "empty"))
    assert "leads out" in str(refusal(ID, cache_dir=cache, revision="../../secret"))
    assert "needs the network" in str(refusal(ID, cache_dir=cache, force_download=True))


def test_an_interrupted_download_is_refused(cache: Path) -> None:
    found = hub.resolve(ID, hub.Where(cache_dir=cache))
    listing = cache / "models--owner--tiny-model" / "trees" / f"{found.commit}.json"
    names = ["config.json", "README.md", "onnx/model.onnx", "pytorch_model.bin", "model.fp16.safetensors", SAFETENSORS]
    write(listing.parent, listing.name, text=json.dumps({"format_version": 1, "files": dict.fromkeys(names, {})}))
    assert hub.resolve(ID, hub.Where(cache_dir=cache)) == found  # what it lacks is not wanted
    (found.folder / SAFETENSORS).unlink()
    assert f"without {SAFETENSORS}" in str(refusal(ID, cache_dir=cache))
    listing.write_text('{"format_version": 2}')
    assert hub.resolve(ID, hub.Where(cache_dir=cache)) == found


def test_huggingface_hub_reads_the_same_cache(cache: Path) -> None:
    from huggingface_hub import snapshot_download

    theirs = snapshot_download(ID, cache_dir=cache, local_files_only=True)
    assert hub.resolve(ID, hub.Where(cache_dir=cache)).folder == Path(theirs)


def test_offline_imports_nothing_that_talks_to_a_network(cache: Path) -> None:
    code = (
        "import sys; from QEfficient import hub; hub.resolve(sys.argv[1]);"
        "print(*sorted({'torch', 'transformers', 'numpy', 'httpx', 'httpx2', 'requests'} & set(sys.modules)))"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code, ID], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


# ------------------------------------------------------------------------------------------------ with a network


class Hub:
    """A hub that has files; it stands in for ``snapshot_download`` and keeps to its patterns."""

    def __init__(self, snapshot: Path, files: Sequence[str]) -> None:
        self.snapshot, self.files, self.calls = snapshot, files, 0

    def __call__(self, repo_id: str, *, allow_patterns: list[str], ignore_patterns: list[str] | None, **_: Any) -> str:
        from huggingface_hub.utils import filter_repo_objects

        self.calls += 1
        wanted = filter_repo_objects(self.files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        dense, transformer = (f"sentence_transformers.models.{kind}" for kind in ("Dense", "Transformer"))
        router = {"path": "", "type": "sentence_transformers.models.Router"}
        text = {
            "modules.json": [{"type": dense, "path": "2_Dense"}, router],
            "router_config.json": {"types": {"query_0_Transformer": transformer, "query_2_Dense": dense}},
        }
        for name in wanted:
            write(self.snapshot, name, text=json.dumps(text.get(Path(name).name, {})))
        return str(self.snapshot)

    @property
    def fetched(self) -> list[str]:
        return sorted(path.relative_to(self.snapshot).as_posix() for path in self.snapshot.rglob("*") if path.is_file())


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.delenv("HF_HUB_OFFLINE")

    def install(*files: str) -> Hub:
        fake = Hub(tmp_path / "snapshots" / "c0ffee", files)
        monkeypatch.setattr("huggingface_hub.snapshot_download", fake)
        return fake

    return install


CONFIGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model")
NOISE = ("README.md", "onnx/model.onnx", "onnx/config.json", "tf_model.h5", "flax_model.msgpack", "rust_model.ot")


def test_safetensors_alone_are_fetched_where_they_exist(online: Any) -> None:
    wanted = (*CONFIGS, SAFETENSORS, "modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors")
    fake = online(*wanted, *NOISE, "pytorch_model.bin", "2_Dense/pytorch_model.bin", "model.fp16.safetensors")
    found = hub.resolve(ID)
    assert (found.repo_id, found.commit, fake.calls) == (ID, "c0ffee", 1)
    assert fake.fetched == sorted(wanted)


def test_torch_files_are_fetched_where_there_are_no_safetensors(online: Any) -> None:
    shards = ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json")
    wanted = (*CONFIGS, *shards, "modules.json", "2_Dense/config.json", "2_Dense/pytorch_model.bin")
    fake = online(*wanted, *NOISE)
    hub.resolve(ID)
    assert fake.fetched == sorted(wanted)


def test_the_routes_of_a_router_are_fetched(online: Any) -> None:
    wanted = (
        *("modules.json", "router_config.json", "query_1_Pooling/config.json", "query_2_Dense/pytorch_model.bin"),
        *(f"query_0_Transformer/{name}" for name in (*CONFIGS, SAFETENSORS)),
    )
    fake = online(*wanted, *NOISE, "query_0_Transformer/pytorch_model.bin", "query_0_Transformer/README.md")
    hub.resolve(ID)
    assert fake.fetched == sorted(wanted)


def test_a_subfolder_is_fetched_alone(online: Any) -> None:
    fake = online("config.json", SAFETENSORS, "enc/config.json", "enc/pytorch_model.bin", "enc/onnx/model.onnx")
    assert hub.resolve(ID, hub.Where(subfolder="enc")).folder == fake.snapshot / "enc"
    assert fake.fetched == ["enc/config.json", "enc/pytorch_model.bin"]


def test_a_program_is_fetched_whole(online: Any) -> None:
    files = (hub.MANIFEST, "model.onnx", "model.onnx.data", "qpc/programqpc.bin", "tokenizer.json")
    fake = online(*files)
    assert hub.is_program(hub.resolve(ID).folder)
    assert fake.fetched == sorted(files)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("GatedRepoError", "gated"),
        ("RepositoryNotFoundError", "no such repo"),
        ("RevisionNotFoundError", "no such revision"),
        ("LocalEntryNotFoundError", "can't be downloaded"),
    ],
)
def test_errors_of_the_hub_say_what_to_do(monkeypatch: pytest.MonkeyPatch, kind: str, says: str) -> None:
    from huggingface_hub import errors

    monkeypatch.delenv("HF_HUB_OFFLINE")
    cause = getattr(errors, kind)("404 from the hub") if kind.startswith("Local") else _http_error(errors, kind)

    def fail(*_: Any, **__: Any) -> None:
        raise cause

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    error = refusal(ID)
    assert says in str(error) and "404 from the hub" in str(error)
    assert error.__cause__ is cause


def _http_error(errors: ModuleType, kind: str) -> Exception:
    error: Exception = getattr(errors, kind).__new__(getattr(errors, kind))
    Exception.__init__(error, "404 from the hub")
    return error


# ------------------------------------------------------------------------------------------------ config, weights


def test_config_errors(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="can't be read"):
        hub.read_config(tmp_path)
    for text in ("{", "[]", "\xff"):
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        with pytest.raises(LoadError, match=r"config\.json"):
            hub.read_config(tmp_path)


def test_weight_files_are_found_in_the_order_of_transformers(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no weights"):
        hub.weight_files(tmp_path)
    found = []
    for stem in ("pytorch_model.bin", SAFETENSORS):
        index = tmp_path / f"{stem}.index.json"
        index.write_text(json.dumps({"weight_map": {"b": f"2-{stem}", "a": f"1-{stem}", "c": f"2-{stem}"}}))
        with pytest.raises(LoadError, match="2 of 2 weight files are missing"):
            hub.weight_files(tmp_path)
        write(tmp_path, f"1-{stem}", f"2-{stem}")
        found.append([path.name for path in hub.weight_files(tmp_path)])
        write(tmp_path, stem)
        found.append([path.name for path in hub.weight_files(tmp_path)])
    assert found == [
        ["pytorch_model.bin.index.json", "1-pytorch_model.bin", "2-pytorch_model.bin"],
        ["pytorch_model.bin"],
        ["model.safetensors.index.json", "1-model.safetensors", "2-model.safetensors"],
        [SAFETENSORS],
    ]


@pytest.mark.parametrize("content", ["{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[]"])
def test_a_malformed_index(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(LoadError, match="no weight_map"):
        hub.weight_files(tmp_path)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/passwd", "a\\..\\b"])
def test_an_index_that_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(LoadError, match="outside of the model's folder"):
        hub.weight_files(tmp_path)
