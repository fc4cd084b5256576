"""Pickled, copied, sent to other processes: a model is its program's path and its files, or an error says why not."""

from __future__ import annotations

import copy
import functools
import inspect
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import dill
import joblib
import numpy as np
import pytest
import torch
from transformers import AutoModel

from QEfficient import QEFFAutoModel, errors
from QEfficient.cache import Cache
from QEfficient.errors import InputError, LoadError, PoolingError, QEfficientError, UsageError
from QEfficient.numerics.verify import Limits
from tests import other_process
from tests.tiny_repo import tiny_repo


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("pickling") / "repo", layers=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickling-home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))


@pytest.fixture
def model(repo: Path) -> QEFFAutoModel:
    """Compiled; the second test finds it in the cache."""
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    model.compile(seq_len=[16, 32])
    model.max_seq_length = 20
    return model


def same(found: Any, model: QEFFAutoModel) -> None:
    vectors, limit, has_torch = found
    assert np.array_equal(vectors, model.encode(other_process.TEXTS)) and limit == 20 and not has_torch


# -------------------------------------------------------------------------------------------- other processes


def test_spawned_processes(model: QEFFAutoModel) -> None:
    """A model goes over, vectors and errors come back; the child needs no torch."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        same(pool.submit(other_process.encoded, model).result(), model)
        with pytest.raises(InputError) as here:
            other_process.refused(model)
        with pytest.raises(InputError) as there:
            pool.submit(other_process.refused, model).result()
        assert str(there.value) == str(here.value) and there.value.do == here.value.do
        with pytest.raises(errors.DeviceError) as caught:
            pool.submit(other_process.failed, None).result()
        assert caught.value.status == "QS_TIMEDOUT" and "<lambda>" in str(caught.value)
        same(pool.submit(other_process.encoded, model).result(), model)  # the pool is not broken


def test_joblib(model: QEFFAutoModel) -> None:
    encode = joblib.delayed(other_process.encoded)
    found = joblib.Parallel(n_jobs=2)(encode(each) for each in (model, model))
    for each in found:
        same(each, model)


# -------------------------------------------------------------------------------------------- in this process


def through_torch(model: object, folder: Path) -> object:
    torch.save(model, folder / "model.pt")
    return torch.load(folder / "model.pt", weights_only=False)


def through_joblib(model: object, folder: Path) -> object:
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib")


WAYS: dict[str, Callable[[Any, Path], Any]] = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "oldest": lambda model, _: pickle.loads(pickle.dumps(model, 0)),
    "dill": lambda model, _: dill.loads(dill.dumps(model)),
    "cloudpickle": lambda model, _: pickle.loads(cloudpickle.dumps(model)),
    "torch": through_torch,
    "joblib": through_joblib,
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_model(way: str, model: QEFFAutoModel, tmp_path: Path) -> None:
    model.mine = "a caller's own attribute"  # type: ignore[attr-defined]
    vectors = model.encode(other_process.TEXTS)  # the session is open
    twin = WAYS[way](model, tmp_path)
    assert type(twin) is QEFFAutoModel and twin is not model and twin.mine == model.mine  # type: ignore[attr-defined]
    assert twin.program_path == model.program_path and twin.max_seq_length == 20
    assert np.array_equal(twin.encode(other_process.TEXTS), vectors)
    assert twin.device_report()["reason"] == model.device_report()["reason"]
    twin.max_seq_length = 10
    assert model.max_seq_length == 20
    assert twin.export() == model.export()  # it has its files, too
    twin.close()
    assert np.array_equal(model.encode(other_process.TEXTS), vectors)


@pytest.mark.parametrize("way", WAYS)
def test_a_saved_model(way: str, model: QEFFAutoModel, tmp_path: Path) -> None:
    saved = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"), strict=True)
    twin = WAYS[way](saved, tmp_path)
    assert twin.program_path == saved.program_path and twin._loaded.strict
    assert np.array_equal(twin.encode(other_process.TEXTS), saved.encode(other_process.TEXTS))
    with pytest.raises(UsageError, match="needs the torch model"):
        _ = twin.model


@pytest.mark.parametrize("way", WAYS)
def test_a_model_of_files_that_is_not_compiled(way: str, repo: Path, tmp_path: Path, model: QEFFAutoModel) -> None:
    plain = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    twin = WAYS[way](plain, tmp_path)
    with pytest.raises(UsageError, match="not compiled"):
        twin.encode("x")
    assert twin.compile(seq_len=[16, 32]) == model.qpc_path


@pytest.mark.parametrize("way", ["pickle", "oldest", "dill", "cloudpickle", "torch", "joblib"])
def test_what_is_in_memory_only_is_refused(way: str, repo: Path, tmp_path: Path) -> None:
    changed = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    changed.model.eval()  # handed out: whoever holds it may change it
    pooled = QEFFAutoModel.from_pretrained(repo, pooling=lambda states, mask: states[:, 0])
    for model in (QEFFAutoModel(AutoModel.from_pretrained(repo), "mean"), changed, pooled):
        with pytest.raises(UsageError, match="compile\\(\\) before") as caught:
            WAYS[way](model, tmp_path)
        assert "save_pretrained" in str(caught.value)


def test_a_module_in_memory_once_it_is_compiled(repo: Path, model: QEFFAutoModel) -> None:
    """Its pickle is the program; its deep copy has a module of its own."""
    held = QEFFAutoModel(AutoModel.from_pretrained(repo), "mean")
    held.compile(seq_len=16)
    inputs = {"input_ids": [[101, 2023, 102]]}
    expected = held.generate(inputs)["output"]
    twin, deep = pickle.loads(pickle.dumps(held)), copy.deepcopy(held)
    assert np.array_equal(twin.generate(inputs)["output"], expected)
    with pytest.raises(UsageError, match="needs the torch model"):
        _ = twin.model
    with torch.no_grad():
        deep.model.embeddings.word_embeddings.weight.mul_(2.0)
    assert not torch.equal(deep.model.embeddings.word_embeddings.weight, held.model.embeddings.word_embeddings.weight)
    assert np.array_equal(deep.generate(inputs)["output"], expected)


def test_a_program_that_is_gone_or_another_one(model: QEFFAutoModel, tmp_path: Path) -> None:
    folder = Path(model.save_pretrained(tmp_path / "saved"))
    data = pickle.dumps(QEFFAutoModel.from_pretrained(folder))
    shutil.rmtree(folder)
    with pytest.raises(LoadError, match="is not here") as caught:
        pickle.loads(data)
    assert str(folder) in str(caught.value) and "save_pretrained" in str(caught.value)
    model.compile(seq_len=[8, 32])
    model.save_pretrained(folder)
    with pytest.raises(LoadError, match="Another program"):
        pickle.loads(data)


def test_a_program_that_was_made_again_at_its_place(model: QEFFAutoModel, repo: Path) -> None:
    again = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    again.compile(seq_len=[4, 8])
    data, path, before = pickle.dumps(again), again.program_path, again.encode("a text")
    again.close()
    Cache().remove([entry for entry in Cache().entries() if entry.path == Path(str(path))])
    again.compile(seq_len=[4, 8])
    assert np.array_equal(pickle.loads(data).encode("a text"), before)


def test_a_pickle_is_small_and_names_no_secret(model: QEFFAutoModel, repo: Path) -> None:
    secret = QEFFAutoModel.from_pretrained(repo, pooling="mean", token="hf_secret")
    assert b"hf_secret" not in pickle.dumps(secret)
    assert len(pickle.dumps(model)) < 4_000


def test_as_a_key(model: QEFFAutoModel) -> None:
    calls = []

    @functools.lru_cache
    def once(each: QEFFAutoModel) -> int:
        calls.append(each)
        return len(calls)

    assert once(model) == once(model) == 1 and joblib.hash(model) == joblib.hash(copy.deepcopy(model))


def test_an_open_session_is_refused(model: QEFFAutoModel) -> None:
    for way in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(UsageError, match="belongs to the process"):
            way(model.qpc_session)


# -------------------------------------------------------------------------------------------- what calls return


MORE: dict[str, dict[str, Any]] = {
    "NumericsError": {"rows": [3, 4]},
    "VerificationError": {"rows": [], "verification": Limits(min_cosine=0.9)},
    "CompileError": {"command": ["qaic-compile", "-m=x"], "exit_code": 3, "stdout": "out", "stderr": "err"},
    "DeviceError": {"status": "QS_TIMEDOUT"},
}
ERRORS = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_travels_whole(name: str) -> None:
    keywords = {"got": {"a": [1]}, "allowed": "this", "do": "that"} | MORE.get(name, {})
    if name == "VerificationError":
        keywords.pop("rows")
    error: QEfficientError = ERRORS[name]("What happened.", **keywords)
    error.add_note("a note")
    for way in (lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy):
        twin = way(error)
        assert type(twin) is type(error) and str(twin) == str(error) and vars(twin) == vars(error)
        assert twin.args == error.args


def test_an_error_with_a_value_that_can_t_travel_keeps_its_text() -> None:
    error = PoolingError("No.", got=lambda: 0, do="that")
    twin = pickle.loads(pickle.dumps(error))
    assert str(twin) == str(error) and twin.do == "that"


def test_what_calls_return(model: QEFFAutoModel) -> None:
    found = [
        model.verify(),
        model.analyze(seq_len=32),
        model.recommend(),
        model.device_report(),
        model.benchmark(other_process.TEXTS, seconds=0.01, rounds=1),
        Limits(min_cosine=0.9),
        model(**{"input_ids": torch.ones(1, 4, dtype=torch.int64)}),
    ]
    for each in found:
        for twin in (pickle.loads(pickle.dumps(each)), copy.deepcopy(each)):
            assert type(twin) is type(each) and repr(twin) == repr(each)
