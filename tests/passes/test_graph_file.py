import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from QEfficient import settings
from QEfficient.errors import CorruptArtefactError, TransformError
from QEfficient.onnx_transforms import adopt, describe, external_files, read
from QEfficient.records import TensorSpec
from tests import tiny_graphs
from tests.passes.graphs import compute

X = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.array([[1, 1, 0]])}


@pytest.fixture
def path(tmp_path) -> Path:
    return tiny_graphs.make(tmp_path / "given").path


def point_to(path: Path, location: str, **more: str) -> None:
    """Rewrites where the first weight says that its data stands."""
    proto = onnx.load_model(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    entries = {entry.key: entry.value for entry in tensor.external_data} | {"location": location} | more
    tensor.ClearField("external_data")
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    onnx.save_model(proto, path)


def test_the_record_of_a_graph(path: Path) -> None:
    record = describe(path)
    assert record.inputs == tuple(
        TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in ("input_ids", "attention_mask")
    )
    assert record.outputs == (TensorSpec("output", "float32", ("batch_size", 16)),)
    assert len(record.digest) == 64
    assert not record.functions


def save(tmp_path: Path, text: str) -> Path:
    onnx.save_model(onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 18]>' + text), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_free_dims_without_a_name_get_one_and_constants_are_no_inputs(tmp_path) -> None:
    path = save(tmp_path, "g (float[?, 2] x, float[2] w) => (float[?, 2] y) <float[2] w = {1, 2}> { y = Add (x, w) }")
    record = describe(path)
    assert record.inputs == (TensorSpec("x", "float32", ("x_dim0", 2)),)
    assert record.outputs == (TensorSpec("y", "float32", ("y_dim0", 2)),)


@pytest.mark.parametrize("kind", ["float", "seq(float[2])"])
def test_an_input_without_a_tensor_shape_is_an_error(tmp_path, kind: str) -> None:
    path = save(tmp_path, f"g ({kind} x) => ({kind} y) {{ y = Identity (x) }}")
    proto = onnx.load_model(path)
    if kind == "float":
        proto.graph.input[0].type.tensor_type.ClearField("shape")
        onnx.save_model(proto, path)
    with pytest.raises(TransformError, match="'x'"):
        describe(path)


def test_functions_are_noted(tmp_path) -> None:
    onnx.save_model(
        onnx.parser.parse_model(
            """<ir_version: 10, opset_import: ["": 18, "l": 1]>
            g (float[2] x) => (float[2] y) { y = l.f (x) }
            <domain: "l", opset_import: ["": 18]> f (x) => (y) { y = Relu (x) }"""
        ),
        tmp_path / "m.onnx",
    )
    assert describe(tmp_path / "m.onnx").functions


def test_the_digest_covers_every_byte_of_graph_and_data(path: Path) -> None:
    (data,) = external_files(path)
    seen = {describe(path).digest}
    for file in (path, data):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        seen.add(describe(path).digest)
    assert len(seen) == 3


def test_a_file_beside_the_graph_that_it_does_not_name_is_not_its_data(path: Path) -> None:
    before = describe(path).digest
    (path.parent / "model.onnx_data").write_bytes(b"a guess")
    assert [file.name for file in external_files(path)] == [tiny_graphs.EXTERNAL]
    assert describe(path).digest == before


def test_data_in_subgraphs_and_functions_is_found(tmp_path) -> None:
    graph = """<ir_version: 10, opset_import: ["": 18, "l": 1]>
        g (bool c, float[2] x) => (float[2] y)
        {
            h = l.f (x)
            y = If (c) <
                then_branch = yes () => (float[2] r) <float[2] w = {1, 2}> { r = Add (h, w) },
                else_branch = no () => (float[2] s) { v = Constant <value = float[2] {3, 4}> ()  s = Add (h, v) }
            >
        }
        <domain: "l", opset_import: ["": 18]> f (x) => (y) { u = Constant <value = float[2] {5, 6}> ()  y = Add (x, u) }
    """
    proto = onnx.parser.parse_model(graph)
    branches = [attribute.g for attribute in proto.graph.node[1].attribute]
    tensors = [
        branches[0].initializer[0],
        branches[1].node[0].attribute[0].t,
        proto.functions[0].node[0].attribute[0].t,
    ]
    for index, tensor in enumerate(tensors):
        (tmp_path / f"{index}.data").write_bytes(np.array([index, index], np.float32).tobytes())
        tensor.ClearField("float_data")
        tensor.external_data.add(key="location", value=f"{index}.data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    onnx.save_model(proto, tmp_path / "m.onnx")
    assert [file.name for file in external_files(tmp_path / "m.onnx")] == ["0.data", "1.data", "2.data"]
    assert read(tmp_path / "m.onnx").graph.outputs[0].name == "y"


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", "..\\secret", "C:\\secret", ""])
def test_data_outside_the_folder_is_refused(path: Path, location: str) -> None:
    (path.parent.parent / "secret").write_bytes(bytes(100_000))
    point_to(path, location)
    for reader in (external_files, describe, read):
        with pytest.raises(CorruptArtefactError, match="outside"):
            reader(path)


def test_a_link_that_leaves_the_folder_is_refused(path: Path, tmp_path) -> None:
    (data,) = external_files(path)
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptArtefactError, match="outside"):
        adopt(path, tmp_path / "work")


def test_missing_data_is_named(path: Path) -> None:
    (data,) = external_files(path)
    data.unlink()
    with pytest.raises(CorruptArtefactError, match="missing") as caught:
        read(path)
    assert tiny_graphs.EXTERNAL in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"length": "4"}, {"offset": "1000000000"}, {"offset": "-8"}, {"offset": "two"}, {"length": ""}]
)
def test_a_place_that_does_not_fit_the_file_is_refused(path: Path, more: dict[str, str]) -> None:
    point_to(path, tiny_graphs.EXTERNAL, **more)
    with pytest.raises(CorruptArtefactError):
        read(path)


def test_cut_data_is_refused(path: Path) -> None:
    (data,) = external_files(path)
    os.truncate(data, data.stat().st_size - 1)
    with pytest.raises(CorruptArtefactError, match="does not fit"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"not a graph", bytes(1000)])
def test_a_file_that_is_no_graph_is_refused(tmp_path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(CorruptArtefactError, match="can't be read"):
        describe(tmp_path / "m.onnx")


def test_a_graph_that_is_not_there(tmp_path) -> None:
    with pytest.raises(CorruptArtefactError, match="not there"):
        describe(tmp_path / "m.onnx")


def test_weights_shared_by_hard_links_can_be_read(path: Path, tmp_path) -> None:
    """As the cache shares them between folders; onnx_ir alone refuses."""
    (data,) = external_files(path)
    os.link(data, tmp_path / "twin")
    weight = read(path).graph.initializers["w_words"].const_value
    assert np.isfinite(weight.numpy()).all() and weight.shape == (tiny_graphs.VOCABULARY, tiny_graphs.DIM)


def hub_snapshot(path: Path, root: Path) -> Path:
    """The graph as a HuggingFace cache holds it: links into a blob folder."""
    snapshot, blobs = root / "models--org--name/snapshots/abc", root / "models--org--name/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (path, *external_files(path)):
        shutil.copy(file, blobs / f"{len(file.name)}0")
        (snapshot / file.name).symlink_to(f"../../blobs/{len(file.name)}0")
    return snapshot / path.name


def test_a_graph_of_a_hub_cache_is_adopted(path: Path, tmp_path) -> None:
    link = hub_snapshot(path, tmp_path / "hub")
    adopted = adopt(link, tmp_path / "work")
    assert adopted.path == tmp_path / "work" / "model.onnx"
    assert sorted(file.name for file in adopted.path.parent.iterdir()) == ["model.onnx", tiny_graphs.EXTERNAL]
    assert not any(file.is_symlink() for file in adopted.path.parent.iterdir())
    assert adopted.digest == describe(path).digest == describe(link).digest
    assert np.array_equal(compute(adopted.path, X)[0], compute(path, X)[0])


def test_data_in_a_subfolder_keeps_its_place(path: Path, tmp_path) -> None:
    (path.parent / "parts").mkdir()
    proto = onnx.load_model(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = f"parts/{tiny_graphs.EXTERNAL}"
    (path.parent / tiny_graphs.EXTERNAL).rename(path.parent / "parts" / tiny_graphs.EXTERNAL)
    onnx.save_model(proto, path)
    adopted = adopt(path, tmp_path / "work")
    assert external_files(adopted.path) == (tmp_path / "work" / "parts" / tiny_graphs.EXTERNAL,)


def test_adopting_a_graph_where_it_stands_changes_nothing(path: Path) -> None:
    assert adopt(path, path.parent) == describe(path)


def test_a_users_own_file_is_copied_so_that_an_edit_can_not_reach_the_cache(path: Path) -> None:
    adopted = adopt(path, settings.home() / "work")
    assert not any(file.stat().st_nlink > 1 for file in (adopted.path, *external_files(adopted.path)))


def test_reading_leaves_the_weights_on_disk(path: Path) -> None:
    initializers = read(path).graph.initializers.values()
    assert {type(value.const_value).__name__ for value in initializers} == {"ExternalTensor"}
