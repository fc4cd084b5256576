"""The drop-in surface of ``QEFFAutoModel``: what people know from transformers and from the vendor's package."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, BatchEncoding

from QEfficient import QEFFAutoModel, QEFFTransformersBase
from QEfficient.backends.registry import get
from QEfficient.build.saved import rehost
from QEfficient.cache import Cache
from QEfficient.errors import CorruptArtefactError, DeviceError, LoadError, NumericsError, OptionError, UsageError
from QEfficient.program import load
from tests.tiny_repo import tiny_repo


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QEFF_HOME", str(home))
    yield


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"))


@pytest.fixture
def model(repo: Path) -> QEFFAutoModel:
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    model.compile()
    return model


@pytest.fixture(scope="module")
def inputs(repo: Path) -> BatchEncoding:
    tokenizer = AutoTokenizer.from_pretrained(repo)
    return tokenizer(["My name is", "a longer text than that one"], return_tensors="pt", padding=True)


def torch_states(repo: Path, inputs: BatchEncoding) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = AutoModel.from_pretrained(repo)(**inputs).last_hidden_state
    return states


def test_from_pretrained_reads_no_weights(repo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(repo, tmp_path / "copy")
    (folder / "model.safetensors").write_bytes(b"not weights")
    model = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    assert "not compiled" in repr(model)
    assert model.model_name == "BertModel"
    assert model.config.hidden_size == 32
    assert model.get_model_config["hidden_size"] == 32
    assert (model.onnx_path, model.qpc_path, model.program_path) == (None, None, None)
    with pytest.raises(LoadError):
        _ = model.model


def test_generate_gives_the_mean_of_real_tokens(model: QEFFAutoModel, repo: Path, inputs: BatchEncoding) -> None:
    output = model.generate(inputs)
    assert list(output) == ["output"]
    mask = inputs["attention_mask"].unsqueeze(-1)
    want = (torch_states(repo, inputs) * mask).sum(1) / mask.sum(1)
    assert output["output"].shape == (2, 32)
    assert np.abs(output["output"] - want.numpy()).max() < 1e-5


def test_token_vectors_are_zero_behind_a_row_s_last_token(repo: Path, inputs: BatchEncoding) -> None:
    model = QEFFAutoModel.from_pretrained(repo)
    model.compile()
    states = torch_states(repo, inputs).numpy()
    mask = inputs["attention_mask"].numpy()
    for output in (model.generate(inputs), model.generate(inputs, runtime_ai100=False)):
        assert output["output"].shape == states.shape
        assert np.abs((output["output"] - states)[mask == 1]).max() < 1e-5
        assert (output["output"][mask == 0] == 0.0).all()
    result = model(**inputs)
    assert isinstance(result.last_hidden_state, torch.Tensor)
    assert result.pooler_output is None


def test_the_torch_model_gives_the_same_dict(model: QEFFAutoModel, inputs: BatchEncoding) -> None:
    ours, theirs = model.generate(inputs), model.generate(inputs, runtime_ai100=False)
    assert list(ours) == list(theirs)
    assert np.abs(ours["output"] - theirs["output"]).max() < 1e-5


def test_called_like_a_transformers_model(model: QEFFAutoModel, inputs: BatchEncoding) -> None:
    result = model(**inputs)
    assert np.abs(result.pooler_output.numpy() - model.generate(inputs)["output"]).max() == 0


@pytest.mark.parametrize("dtype", ["float16", np.float64, torch.float16, None])
def test_result_dtype(model: QEFFAutoModel, inputs: BatchEncoding, dtype: Any) -> None:
    expected = {"float16": np.float16, np.float64: np.float64, torch.float16: np.float16, None: np.float32}[dtype]
    assert model.generate(inputs, dtype=dtype)["output"].dtype == expected


def test_token_types_matter_and_are_zeros_when_left_out(
    model: QEFFAutoModel, repo: Path, inputs: BatchEncoding
) -> None:
    plain = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    zeros = model.generate(plain | {"token_type_ids": torch.zeros_like(inputs["input_ids"])})["output"]
    ones = plain | {"token_type_ids": torch.ones_like(inputs["input_ids"])}
    assert (model.generate(plain)["output"] == zeros).all()
    given = model.generate(ones)["output"]
    assert np.abs(given - zeros).max() > 1e-3
    assert np.abs(given - model.generate(ones, runtime_ai100=False)["output"]).max() < 1e-5


def test_small_habits(model: QEFFAutoModel) -> None:
    assert isinstance(model, QEFFTransformersBase)
    assert model.eval() is model
    assert model.to("cpu") is model
    assert model.to(torch.device("cpu")) is model
    assert model.device == torch.device("cpu")
    assert model.dtype == torch.float32
    assert model.warmup() is model
    assert model.qpc_session.shapes[-1].length == 64
    report = model.device_report()
    assert report["backend"] == "onnxruntime"
    assert report["reason"]
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize("end", ["compile", "close"])
def test_a_session_that_was_handed_out_ends_with_a_clear_error(model: QEFFAutoModel, end: str) -> None:
    session = model.qpc_session
    arrays = {spec.name: np.ones(spec.at(session.shapes[0]), spec.dtype) for spec in session.inputs}
    expected = session.run(arrays)["output"]
    assert np.array_equal(session.submit(arrays).result()["output"], expected)
    model.compile()  # the same program, so the same session
    assert np.array_equal(session.run(arrays)["output"], expected)
    model.compile(seq_len=[8, 16]) if end == "compile" else model.close()
    model.encode("a text")  # opens one
    for run in (session.run, session.submit):
        with pytest.raises(UsageError, match="qpc_session") as caught:
            run(arrays)
        assert "anew" in str(caught.value.do)
    session.close()  # it has ended already: the one that is open now goes on
    anew = model.qpc_session
    arrays = {spec.name: np.ones(spec.at(anew.shapes[0]), spec.dtype) for spec in anew.inputs}
    assert np.isfinite(anew.run(arrays)["output"]).all()


def test_whoever_closes_a_session_that_was_handed_out_closes_the_model_s(model: QEFFAutoModel) -> None:
    expected = model.encode("a text")
    with model.qpc_session as session:
        assert model.device_report()["session"] is not None
    assert model.device_report()["session"] is None
    assert np.array_equal(model.encode("a text"), expected)
    with pytest.raises(UsageError, match="qpc_session"):
        session.run({})


def test_closing_what_was_handed_out_leaves_a_session_that_was_opened_meanwhile(model: QEFFAutoModel) -> None:
    """While its close waits for those who use it, somebody may have another one opened."""
    loaded = model._need_loaded()
    old = model.qpc_session
    with loaded._lock:
        other = loaded.backend.open(loaded.program)

    def wait(enough: Callable[[], bool]) -> None:
        loaded._session, closed = other, loaded._session
        assert closed is not None and enough()
        closed.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "_wait", wait)
        old.close()
    assert loaded._session is other
    assert model.encode("a text").shape == (32,)


def test_a_model_that_is_dropped_frees_its_session_at_once(repo: Path) -> None:
    """What is kept from call to call refers to nothing that holds it: the weights need not wait for the collector."""
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    model.compile()
    model.encode("a text")
    model.generate({"input_ids": [[2, 3]]})
    session = weakref.ref(model._need_loaded()._session)
    gc.collect()
    gc.disable()
    try:
        del model
        assert session() is None
    finally:
        gc.enable()


def test_a_program_that_was_replaced_is_not_kept(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    model.compile()
    model.encode("a text")
    old = weakref.ref(model._need_loaded())
    model.compile(seq_len=8, verify="off")
    gc.collect()
    assert old() is None


def test_a_close_that_fails_leaves_nobody_waiting(model: QEFFAutoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = model._need_loaded()
    inside, go, ended = threading.Event(), threading.Event(), []

    def use() -> None:
        with suppress(DeviceError), loaded.session():
            inside.set()
            go.wait(60)

    def close() -> None:
        with suppress(DeviceError):
            loaded.close()
        ended.append("close")

    def refuse() -> None:
        raise DeviceError("It refuses.", got="", allowed="", do="")

    user, closer = threading.Thread(target=use), threading.Thread(target=close, daemon=True)
    user.start()
    assert inside.wait(60)
    with loaded._lock:
        assert loaded._session is not None
        monkeypatch.setattr(loaded._session, "close", refuse)
    closer.start()
    loaded.retire()
    go.set()
    user.join()
    closer.join(60)
    assert ended == ["close"]


def test_dtype_left_out_is_float32_whatever_the_checkpoint_holds(repo: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(repo, dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    assert QEFFAutoModel.from_pretrained(tmp_path / "half").model.dtype == torch.float32
    half = QEFFAutoModel.from_pretrained(repo, torch_dtype=torch.float16, pooling="mean")
    assert half.dtype == half.model.dtype == torch.float16
    half.compile()
    full = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    full.compile()
    difference = np.abs(half.encode("a text") - full.encode("a text")).max()
    assert 1e-6 < difference < 1e-2


@pytest.mark.own_exports
def test_a_module_in_memory_is_wrapped_and_not_changed(repo: Path, inputs: BatchEncoding) -> None:
    module = AutoModel.from_pretrained(repo).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    model = QEFFAutoModel(module, pooling="cls")
    model.compile()
    assert model.model is module
    assert module.training
    assert list(before) == list(module.state_dict())
    assert all((before[name] == tensor).all() for name, tensor in module.state_dict().items())
    assert np.abs(model.generate(inputs)["output"] - torch_states(repo, inputs)[:, 0].numpy()).max() < 1e-5


def test_hugging_face_keywords_pass_through(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean", num_hidden_layers=1)
    assert model.config.num_hidden_layers == 1
    assert len(model.model.encoder.layer) == 1
    config = AutoConfig.from_pretrained(repo, num_hidden_layers=1)
    assert len(QEFFAutoModel.from_pretrained(repo, config=config).model.encoder.layer) == 1


def test_a_saved_program_moves_and_answers_alike(model: QEFFAutoModel, inputs: BatchEncoding, tmp_path: Path) -> None:
    saved = model.save_pretrained(tmp_path / "first")
    moved = Path(shutil.move(saved, tmp_path / "second"))
    again = QEFFAutoModel.from_pretrained(moved, pooling="mean")
    assert (again.generate(inputs)["output"] == model.generate(inputs)["output"]).all()
    assert (again.encode(["a text"]) == model.encode(["a text"])).all()
    assert again.config.hidden_size == 32
    assert again.model_name == "BertModel"
    assert again.max_seq_length == 64
    assert again.get_sentence_embedding_dimension() == 32
    assert QEFFAutoModel.from_pretrained(again.save_pretrained(tmp_path / "third")).encode("a").shape == (32,)
    strict = QEFFAutoModel.from_pretrained(moved, strict=True)
    assert np.abs(strict.encode("a text") - model.encode("a text")).max() <= 1e-6


def test_a_saved_graph_that_was_changed_is_not_compiled_for_another_backend(
    model: QEFFAutoModel, tmp_path: Path
) -> None:
    saved = Path(model.save_pretrained(tmp_path / "saved"))
    weights = saved / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)  # of the same size, so that loading does not see it
    with pytest.raises(CorruptArtefactError):
        rehost(load(saved), get("onnxruntime"), Cache())


def test_paths(model: QEFFAutoModel, repo: Path, tmp_path: Path, home: Path) -> None:
    assert model.qpc_path == model.program_path
    assert str(model.program_path).startswith(str(home))
    exported = Path(model.export())
    assert exported.is_file()
    assert model.onnx_path == str(exported)
    copy = Path(model.export(tmp_path / "exports"))
    assert copy.is_relative_to(tmp_path / "exports")
    assert copy.read_bytes() == exported.read_bytes()
    assert copy.stat().st_ino != exported.stat().st_ino  # the caller may change it
    placed = model.compile(compile_dir=tmp_path / "programs")
    assert Path(placed).parent == tmp_path / "programs"
    assert model.compile(compile_dir=tmp_path / "programs") == placed
    assert model.encode("a text").shape == (32,)


def largest_of_words(model: QEFFAutoModel) -> float:
    """The largest weight of the table of words that the doctor meets."""
    (found,) = [one.largest for one in model.doctor().ranges if one.name.endswith("word_embeddings.weight")]
    return found


def test_a_copy_that_the_caller_changes_is_not_what_is_diagnosed(repo: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    path = Path(model.export(tmp_path / "mine"))
    graph = onnx.load(path)
    for weight in graph.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype.kind == "f":
            weight.CopyFrom(numpy_helper.from_array(values * np.float32(100), weight.name))
    onnx.save(graph, path)
    table = AutoModel.from_pretrained(repo).embeddings.word_embeddings.weight
    assert largest_of_words(model) == table.abs().max().item()
    assert model.onnx_path == str(path)
    assert model.doctor().ranges == QEFFAutoModel.from_pretrained(repo, pooling="mean").doctor().ranges


def test_weights_that_changed_after_the_export_are_diagnosed(repo: Path) -> None:
    module = AutoModel.from_pretrained(repo)
    model = QEFFAutoModel(module, pooling="mean")
    model.export()
    with torch.no_grad():
        module.embeddings.word_embeddings.weight[7, 7] = 5_000
    assert largest_of_words(model) == 5_000


def test_a_graph_of_the_caller_s(model: QEFFAutoModel, repo: Path, tmp_path: Path) -> None:
    graph = model.export(tmp_path / "graph")
    expected = model.encode("a text")
    other = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    other.compile(onnx_path=graph)
    assert (other.encode("a text") == expected).all()
    assert Path(graph).is_file()


def test_a_graph_with_other_dims_than_the_buckets(model: QEFFAutoModel, repo: Path, tmp_path: Path) -> None:
    import onnx

    path = Path(model.export(tmp_path / "graph"))
    graph = onnx.load(path, load_external_data=False)
    for value in (*graph.graph.input, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "seq_len":
                dim.dim_value = 32
    onnx.save(graph, path)
    other = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    for lengths in (None, 64, [32, 64]):
        with pytest.raises(OptionError, match="seq_len"):
            other.compile(onnx_path=path, seq_len=lengths)
    other.compile(onnx_path=path, seq_len=32)


def test_write_io(model: QEFFAutoModel, inputs: BatchEncoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = model.generate(inputs, write_io=True)["output"]
    [listing] = (tmp_path / "io_dir").rglob("*.json")
    found = {}
    for buffers in json.loads(listing.read_text())["IO-files"]:
        arrays = {
            (one["io-direction"], one["map-to"]): np.fromfile(
                listing.parent / one["path"], np.int64 if one["io-direction"] == "in" else np.float32
            ).reshape(one["dims"])
            for one in buffers
        }
        for ids, mask, vector in zip(
            arrays["in", "input_ids"], arrays["in", "attention_mask"], arrays["out", "output"], strict=True
        ):
            found[tuple(ids[mask == 1])] = vector
    for row, vector in enumerate(output):
        ids = inputs["input_ids"][row][inputs["attention_mask"][row] == 1]
        assert (found[tuple(ids.numpy())] == vector).all()


def test_functions_give_the_same_numbers(model: QEFFAutoModel, repo: Path) -> None:
    other = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    other.compile(use_onnx_subfunctions=True)
    import onnx

    assert onnx.load(str(other.onnx_path), load_external_data=False).functions
    assert np.abs(other.encode("a text") - model.encode("a text")).max() <= 1e-5


def test_a_compile_that_fails_keeps_the_old_program(model: QEFFAutoModel) -> None:
    before, vector = model.program_path, model.encode("a text")
    with pytest.raises(ValueError, match="seq_len"):
        model.compile(seq_len=9999)
    assert model.program_path == before
    assert (model.encode("a text") == vector).all()


def test_more_than_fourteen_buckets_warn(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    with pytest.warns(UserWarning, match="15 buckets"):
        model.compile(seq_len=list(range(8, 23)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(seq_len=list(range(8, 22)))


def test_eight_threads_on_one_object(model: QEFFAutoModel) -> None:
    texts = [f"text number {i} " * (i % 7 + 1) for i in range(40)]
    serial = model.encode(texts)
    wrong: list[int] = []

    def work(start: int) -> None:
        for i in range(start, 40, 8):
            if np.abs(model.encode(texts[i]) - serial[i]).max() > 1e-6:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_compile_while_others_encode(model: QEFFAutoModel) -> None:
    stop, failures, calls = threading.Event(), [], []
    expected = model.encode("a text")

    def work() -> None:
        while not stop.is_set():
            try:
                calls.append(np.abs(model.encode("a text") - expected).max() <= 1e-6)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for lengths in (32, 64, [16, 32], 32):
        model.compile(seq_len=lengths)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert calls
    assert all(calls)


def test_push_to_hub_uploads_the_program(model: QEFFAutoModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    seen: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None) -> None:
            seen["token"] = token

        def create_repo(self, repo_id: str, **keywords: Any) -> None:
            seen["created"] = repo_id, keywords

        def upload_folder(self, **keywords: Any) -> str:
            seen["uploaded"] = keywords
            return "https://hub/commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert model.push_to_hub("me/program", token="t", private=True, commit_message="m") == "https://hub/commit"
    assert seen["created"] == ("me/program", {"private": True, "exist_ok": True})
    assert seen["uploaded"]["folder_path"] == model.program_path
    assert seen["uploaded"]["commit_message"] == "m"


def test_what_is_not_a_saved_program_s_is_refused(model: QEFFAutoModel, tmp_path: Path) -> None:
    saved = QEFFAutoModel.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    for call in (lambda: saved.model, saved.export, saved.compile, lambda: saved.generate({}, runtime_ai100=False)):
        with pytest.raises(UsageError, match="saved program"):
            call()


def test_a_checkpoint_without_all_weights_is_refused(repo: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(repo, tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    without_pooler = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(without_pooler, folder / "model.safetensors", metadata={"format": "pt"})
    QEFFAutoModel.from_pretrained(folder, pooling="mean").compile()
    del without_pooler["encoder.layer.1.output.dense.weight"]
    save_file(without_pooler, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LoadError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        QEFFAutoModel.from_pretrained(folder, pooling="mean").compile()


def test_a_model_that_leaks_padding_is_refused(repo: Path) -> None:
    module = AutoModel.from_pretrained(repo)
    leak = module.encoder.layer[0].register_forward_hook(lambda _, __, out: out + out.mean(dim=1, keepdim=True))
    model = QEFFAutoModel(module, pooling="cls")
    with pytest.raises(NumericsError, match="padding"):
        model.compile()
    model.export(verify="off")
    assert model.analyze(8, before=False, fp16=False)  # it can be looked at, unchecked as it is
    leak.remove()
    model.compile()


def test_the_torch_model_takes_what_its_positions_take(repo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(repo, tmp_path / "copy")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": False}))
    model = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    model.compile(seq_len=64)
    row = {"input_ids": np.full((1, 60), 2026)}
    difference = model.generate(row)["output"] - model.generate(row, runtime_ai100=False)["output"]
    assert np.abs(difference).max() < 1e-5
