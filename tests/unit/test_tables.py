"""Ids past a model's table: said at compile, and named by row before any run, on every backend.

The repo's tokenizer got two tokens, 30522 and 30523, that the model of 30522 rows was never resized for. HuggingFace's
own model raises an IndexError for such a row, so what is right here is an error; rows beside it have their vectors.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification
from QEfficient.errors import DeviceError, InputError
from QEfficient.numerics.probes import RowSpace
from QEfficient.numerics.samples import random_samples
from QEfficient.onnx_transforms import tables
from QEfficient.records import Rows
from QEfficient.runtime.run import How, run_rows
from QEfficient.runtime.tables import Tables
from tests.example_session import ExampleSession
from tests.sdk import make_sdk
from tests.tiny_repo import VOCAB, tiny_repo

ADDED = ("qeffword", "otherword")
BACKENDS = ("onnxruntime", "openvino", "emulator", "qaic")
NAMED = rf"id {VOCAB} 'qeffword'"


def with_tokens(folder: Path) -> Path:
    """The repo, with tokens that its model has no rows for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.add_tokens(list(ADDED)) == 2
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokens(tiny_repo(tmp_path_factory.mktemp("repo") / "added", layers=1, positions=32))


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_sdk(tmp_path_factory.mktemp("sdk") / "sdk").root)


@pytest.fixture(scope="module")
def programs(repo: Path, sdk: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Backend → a saved program. The graph is exported once, and the warning comes with each compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("QEFF_QAIC_SDK", sdk)
        model, found = QEFFAutoModel.from_pretrained(repo, pooling="auto"), {}
        for backend in (*BACKENDS, "onnxruntime"):
            with pytest.warns(UserWarning, match="gives 30524 ids, but the model's table has 30522 rows") as caught:
                model.compile(backend=backend, verify="off", seq_len=[16, 32])
            [said] = [str(one.message) for one in caught if "ids" in str(one.message)]
            assert "30522 'qeffword', 30523 'otherword'" in said and "resize_token_embeddings" in said
            assert caught[0].filename == __file__
            found[backend] = Path(model.save_pretrained(tmp_path_factory.mktemp("saved") / backend))
        model.close()
        yield found


@pytest.fixture(params=BACKENDS)
def model(
    programs: dict[str, Path], sdk: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[QEFFAutoModel]:
    monkeypatch.setenv("QEFF_QAIC_SDK", sdk)
    model = QEFFAutoModel.from_pretrained(programs[request.param])
    yield model
    model.close()


@pytest.fixture
def host(programs: dict[str, Path]) -> Iterator[QEFFAutoModel]:
    model = QEFFAutoModel.from_pretrained(programs["onnxruntime"])
    yield model
    model.close()


def some_texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


def test_every_road_names_the_row_on_every_backend(model: QEFFAutoModel) -> None:
    texts = ["a text", "two", "one with a qeffword in it", "four"]
    with pytest.raises(InputError, match=rf"row 2: {NAMED} past the table of 30522") as caught:
        model.encode(texts)
    assert "resize_token_embeddings" in str(caught.value) and "take the ids from" not in str(caught.value)
    ids = np.full((5, 4), 7)
    ids[3, 1] = VOCAB
    with pytest.raises(InputError, match=rf"row 3: {NAMED} past the table of 30522"):
        model.generate({"input_ids": ids})
    ids[3, 1], types = 7, np.zeros_like(ids)
    types[4, 3] = 2
    with pytest.raises(InputError, match="row 4: token_type_ids 2 past the table of 2") as caught:
        model.generate({"input_ids": ids, "token_type_ids": types})
    assert "resize" not in str(caught.value)
    before = []
    with pytest.raises(InputError, match=rf"row 2: {NAMED}") as caught:
        for vector in model.encode_iter(iter(texts)):
            before.append(vector)
    assert "number 2" in caught.value.__notes__[0]
    assert np.abs(np.stack(before) - model.encode(texts[:2])).max() <= 1e-3  # the session is as it was


def test_a_list_of_several_windows_names_all_such_texts_of_it(host: QEFFAutoModel) -> None:
    texts = some_texts(700)
    texts[300] = "qeffword"
    texts[650] = "qeffword and qeffword and otherword"
    with pytest.raises(InputError) as caught:
        host.encode(texts)
    said = str(caught.value)
    assert f"row 300: {NAMED}, row 650: {NAMED}, row 650: id 30523 'otherword' past the table of 30522" in said


def test_an_endless_source_gives_all_vectors_before_the_text(host: QEFFAutoModel) -> None:
    texts = some_texts(1300)
    texts[1111] = "a qeffword"
    count = 0
    with pytest.raises(InputError, match=f"row 1111: {NAMED}"):
        for _ in host.encode_iter(iter(texts)):
            count += 1
    assert count == 1111


def test_a_text_in_chunks_is_named_once_by_its_own_number(host: QEFFAutoModel) -> None:
    long = "word " * 40
    with pytest.raises(InputError) as caught:
        host.encode([long, long + "qeffword " + long + "qeffword"], overlong="chunk")
    assert str(caught.value).count("qeffword") == 1 and f"row 1: {NAMED}" in str(caught.value)


def test_an_id_that_no_tokenizer_gives_and_many_of_them(host: QEFFAutoModel) -> None:
    with pytest.raises(InputError, match=r"row 0: id 99999 past the table") as caught:
        host.generate({"input_ids": [[99999, 5]]})
    assert "take the ids from the tokenizer" in str(caught.value)
    with pytest.raises(InputError, match="row 7: id 40007, and 12 more past the table"):
        host.generate({"input_ids": [[40000 + row] for row in range(20)]})
    assert host.generate({"input_ids": [[VOCAB - 1]]})["output"].shape == (1, 32)


def test_padding_of_the_callers_is_no_id(host: QEFFAutoModel) -> None:
    """What stands behind a row's last token is never looked up, whatever it is."""
    ids, mask = [[5, 6, VOCAB + 1], [5, 6, 7]], [[1, 1, 0], [1, 1, 1]]
    padded = host.generate({"input_ids": ids, "attention_mask": mask})["output"]
    assert np.abs(padded[0] - host.generate({"input_ids": [[5, 6]]})["output"][0]).max() <= 1e-5


def test_verify_and_benchmark_name_the_text(host: QEFFAutoModel) -> None:
    with pytest.raises(InputError, match=f"row 'a qeffword': {NAMED}"):
        host.verify(["fine", "a qeffword"])
    with pytest.raises(InputError, match=f"row 1: {NAMED}"):
        host.benchmark(["fine", "a qeffword"], seconds=0.01, rounds=1)


def test_compile_with_such_a_text_names_it(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto")
    with pytest.raises(InputError, match=f"row 'a qeffword': {NAMED}"):
        model.compile(backend="onnxruntime", seq_len=16, texts=["a qeffword"])
    with pytest.raises(InputError, match="row 1: id 30522 past the table of 30522"):
        model.generate({"input_ids": [[5], [VOCAB]]}, runtime_ai100=False)
    with pytest.raises(InputError, match="token_type_ids up to 2: index out of range"):
        model.generate({"input_ids": [[5]], "token_type_ids": [[2]]}, runtime_ai100=False)


BESIDE = {
    "ernie": ({"use_task_id": True}, {"task_type_ids": 3}),
    "roc_bert": (
        {"shape_vocab_size": 9, "pronunciation_vocab_size": 7, "shape_embed_dim": 8, "pronunciation_embed_dim": 8},
        {"input_shape_ids": 9, "input_pronunciation_ids": 7},
    ),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_what_stands_beside_ids_meets_the_graph_s_table_too(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoConfig, AutoModel

    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    own, sizes = BESIDE[kind]
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    model = QEFFAutoModel(AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=64, **small, **own)))
    model.compile(backend="onnxruntime", verify="off", seq_len=8)
    manifest = model._need_loaded().program.manifest
    assert {name: manifest.tables[name] for name in sizes} == sizes
    drawn = random_samples(
        RowSpace({"model_type": kind, "vocab_size": 64, **own}, manifest.inputs, manifest.rules, manifest.tables)
    )
    for name, size in sizes.items():
        assert max(sample.inputs[name].max() for sample in drawn) == size - 1  # the check after an export moves them
        with pytest.raises(InputError, match=f"row 1: {name} {size} past the table of {size}"):
            model.generate({"input_ids": [[5], [6]], name: [[0], [size]]})
    model.close()


def test_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    folder = with_tokens(tiny_repo(tmp_path / "repo", layers=1, positions=32))
    (folder / "modules.json").unlink()
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(folder, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(folder)
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folder)
    with pytest.warns(UserWarning, match="30524 ids"):
        model.compile(backend="onnxruntime", verify="off", seq_len=16)
    with pytest.raises(InputError, match=f"row 1: {NAMED}"):
        model.predict([("a", "b"), ("a", "qeffword")])
    with pytest.raises(InputError, match=f"row 2: {NAMED}"):
        model.rank("a", ["b", "c", "qeffword"])


def test_a_pad_token_that_was_added_fills_no_row(repo: Path, tmp_path: Path) -> None:
    """The mask hides what fills a row, but a runtime looks it up all the same."""
    assert QEFFAutoModel.from_pretrained(repo)._text().pad_id == 0
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (repo / name).is_file():
            (tmp_path / name).write_bytes((repo / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"pad_token_id": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"pad_token": "otherword"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert QEFFAutoModel.from_pretrained(tmp_path)._text().pad_id == 0
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": VOCAB + 2}))
    assert QEFFAutoModel.from_pretrained(tmp_path)._text().pad_id == VOCAB + 1


def test_a_table_as_large_as_the_tokenizer_warns_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    model = QEFFAutoModel.from_pretrained(tiny_repo(tmp_path / "repo", layers=1, positions=32), pooling="auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(backend="onnxruntime", verify="off", seq_len=16)
    manifest = model._need_loaded().program.manifest
    assert (manifest.tables, manifest.tokens) == ({"input_ids": VOCAB, "token_type_ids": 2}, VOCAB)


# ---------------------------------------------------------------------------------------------- what a graph tells

GRAPHS = {
    "of several tables the smallest": ("a = Gather (big, ids)  b = Gather (small, ids)", {"ids": 5}),
    "through what leaves ids as they are": (
        "c = Cast <to = 6> (ids)  d = Identity (c)  a = Gather (small, d)",
        {"ids": 5},
    ),
    "along another axis": ("a = Gather <axis = 1> (small, ids)", {"ids": 3}),
    "with padding replaced": ("p = Where (keep, ids, none)  q = Clip (p, zero)  a = Gather (small, q)", {"ids": 5}),
    "hashed": ("m = Mod (ids, prime)  a = Gather (small, m)", {}),
    "counted into positions": ("e = CumSum (ids, zero)  a = Gather (small, e)", {}),
    "clipped to the table": ("q = Clip (ids, zero, prime)  a = Gather (small, q)", {}),
    "replaced where too large": (
        "far = GreaterOrEqual (ids, prime)  p = Where (far, none, ids)  a = Gather (small, p)",
        {},
    ),
    "no table": ("a = Add (ids, ids)", {}),
    "what is looked up, not by it": ("a = Gather (ids, zero)", {}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_tables_of_a_graph(name: str, tmp_path: Path) -> None:
    body, wanted = GRAPHS[name]
    zeros = [", ".join(["0"] * size) for size in (27, 15)]
    graph = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 18]>
    g (int64[batch_size, seq_len] ids, bool[batch_size, seq_len] keep) => (a)
    <float[9, 3] big = {{{zeros[0]}}}, float[5, 3] small = {{{zeros[1]}}},
     int64 zero = {{0}}, int64 none = {{0}}, int64 prime = {{7}}>
    {{ {body} }}""")
    onnx.save(graph, tmp_path / "model.onnx")
    assert tables(tmp_path / "model.onnx") == wanted


# ---------------------------------------------------------------------------------------------- the session's errors


def rows_of(*ids: list[int]) -> Rows:
    arrays = [np.array(row) for row in ids]
    columns = {"input_ids": arrays, "attention_mask": [np.ones_like(row) for row in arrays]}
    return Rows(columns, max(map(len, ids)), tuple(map(len, ids)))


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("error", [DeviceError("The device is gone."), MemoryError("no more")], ids=["device", "other"])
def test_an_error_of_the_session_names_the_rows_of_its_batch(slots: int, error: Exception) -> None:
    def fails(arrays: dict[str, Any]) -> None:
        if (arrays["input_ids"] == 9).any():
            raise error

    rows = rows_of([1] * 8, [2] * 8, [9] * 8, [3], [4], [5])
    with ExampleSession(fixed=True, slots=slots, before=fails) as session, pytest.raises(type(error)) as caught:
        run_rows(session, rows, How(), numbers=[10, 11, 12, 13, 14, 15])
    assert caught.value.__notes__[-1] == "The batch that failed held the rows 10, 11, 12."
    assert getattr(caught.value, "rows", (10, 11, 12)) == (10, 11, 12)


def test_no_run_is_started_for_a_row_past_its_table() -> None:
    with ExampleSession() as session:
        with pytest.raises(InputError, match="row 1: id 9 past the table of 9"):
            run_rows(session, rows_of([1], [9]), How(tables=Tables({"input_ids": 9})))
        assert session.seen == []


def test_a_program_that_is_hosted_elsewhere_keeps_its_tables(programs: dict[str, Path]) -> None:
    model = QEFFAutoModel.from_pretrained(programs["openvino"], backend="onnxruntime")
    with pytest.raises(InputError, match=NAMED):
        model.encode(["a word", "a qeffword"])
    model.close()


def test_padding_past_the_table_is_hidden_by_the_mask(model: QEFFAutoModel) -> None:
    inputs = {"input_ids": [[VOCAB, VOCAB + 1, 5, 6], [5, 6, 7, 8]], "attention_mask": [[0, 0, 1, 1], [1, 1, 1, 1]]}
    filled = inputs | {"input_ids": [[0, 0, 5, 6], [5, 6, 7, 8]]}
    assert np.array_equal(model.generate(inputs)["output"], model.generate(filled)["output"])
    with pytest.raises(InputError, match="row 0: id"):
        model.generate(inputs | {"attention_mask": [[0, 1, 1, 1], [1, 1, 1, 1]]})
