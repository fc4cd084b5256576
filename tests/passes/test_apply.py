"""All passes together, from file to file: on graphs of every kind, and on a real export."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from QEfficient.errors import CorruptArtefactError, NumericsError, TransformError
from QEfficient.onnx_transforms import DEFAULT, apply, describe, external_files, read, run, store_weights, weights
from QEfficient.records import OnnxModel
from tests import tiny_graphs
from tests.passes.graphs import compute, model, text

# Something for every pass, in the main graph, in a branch and in a function.
EVERYTHING = """
    <ir_version: 10, opset_import: ["": 18, "local": 1, "dead": 1]>
    g (bool[n, 4] mask, float[n, 4] x, bool deep) => (float[n, 4] y, float[n, 4] probabilities)
    <float lowest = {-3.4e38}, float[4] w = {1, -2, 3, 0.5},
     float[4] tied = {3, 1, 0, -1}, float[4] twin = {3, 1, 0, -1}, float[1] unused = {7},
     float tiny = {1e-12}, float small = {1e-6}, float sqrt_two = {1.4142135}, float unit = {1},
     float point_five = {0.5}, int64[1] last = {-1}, float[n, 4] scaled, int64[1] middle = {1}, int64 zero = {0},
     float[4, 4] mixer = {1, 2, 0, 0, 0, 1, 2, 0, 0, 0, 1, 2, 2, 0, 0, 1}, float[n, 2, 4] tokens, float[n, 2, 4] turned,
     int64[2] halves = {2, 2}, float[n, 4] divided, float[n, 2, 2] pairs>
    {
        two = Constant <value = float {2}> ()
        doubled = Mul (w, two)
        copy = Identity (x)
        scaled = Mul (copy, doubled)
        same = Cast <to = 1> (scaled)
        dropped = Dropout (same)
        shifted = Add (dropped, tied)
        square = Mul (shifted, shifted)
        mean = ReduceMean (square, last)
        nonzero = Add (mean, small)
        root = Sqrt (nonzero)
        inverse = Reciprocal (root)
        normed = Mul (shifted, inverse)
        moved = Mul (normed, twin)
        masked = Where (mask, moved, lowest)
        probabilities = Softmax <axis = -1> (masked)
        blended = local.mix (probabilities, x)
        smaller = Div (blended, sqrt_two)
        bell = Erf (smaller)
        risen = Add (bell, unit)
        part = Mul (point_five, risen)
        mixed = Mul (blended, part)
        branched = If (deep) <
            then_branch = yes () => (float[n, 4] r) <float[1] low = {-inf}> { m = Max (mixed, low)  r = Identity (m) },
            else_branch = no () => (float[n, 4] s) { s = Identity (mixed) }
        >
        norm = ReduceL2 (branched, last)
        safe = Clip (norm, tiny)
        divided = Div (branched, safe)
        tall = Unsqueeze (x, middle)
        tokens = Concat <axis = 1> (tall, tall)
        turned = MatMul (tokens, mixer)
        first = Gather <axis = 1> (turned, zero)
        rows = Shape <end = 1> (mask)
        told = Concat <axis = 0> (rows, halves)
        pairs = Reshape (divided, told)
        whole = Flatten (pairs)
        y = Add (whole, first)
        dead = dead.f (x)
    }
    <domain: "local", opset_import: ["": 18]>
    mix (a, b) => (c)
    {
        one = Constant <value = float {1}> ()
        three = Sum (one, one, one)
        low = Constant <value_float = -1e30> ()
        bounded = Max (b, low)
        unused = Neg (a)
        half = Identity (bounded)
        raised = Mul (half, three)
        c = Add (a, raised)
    }
    <domain: "dead", opset_import: ["": 18]>
    f (x) => (y) { y = Neg (x) }
"""
ROWS = st.integers(1, 3).flatmap(
    lambda rows: st.tuples(
        arrays.arrays(np.bool_, (rows, 4)),
        # what is nearer to 0 than fp16 tells from it is divided by a guard that fp16 can hold
        arrays.arrays(
            np.float32, (rows, 4), elements=st.floats(-100, 100, width=32).map(lambda x: x * (abs(x) > 1e-3))
        ),
        st.booleans(),
    )
)


def passes() -> list[ir.passes.PassBase]:
    return [make() for make in DEFAULT]


@settings(deadline=None)
@given(ROWS)
def test_the_numbers_stay(case: tuple[np.ndarray, np.ndarray, bool]) -> None:
    mask, x, deep = case
    mask[:, 0] = True  # a row without any token is refused before it gets here
    inputs = {"mask": mask, "x": x, "deep": np.array(deep)}
    after = model(EVERYTHING)
    assert run(after, passes())
    for old, new in zip(compute(model(EVERYTHING), inputs), compute(after, inputs), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
        assert np.isfinite(new).all()


def test_every_pass_finds_its_work_and_leaves_none() -> None:
    graph = model(EVERYTHING)
    assert all(each(graph).modified for each in passes()[:-1])
    printed = text(graph)
    for gone in ("twin", "unused", "dead.f", "Cast", "Dropout", "copy", "-inf", "1e+30", "Sum", "1e-12"):
        assert gone not in printed, gone
    assert not any(each(graph).modified for each in passes()[:-1])


def save(path: Path, graph: ir.Model) -> OnnxModel:
    path.parent.mkdir(exist_ok=True)
    onnx.save_model(ir.to_proto(graph), path)
    return describe(path)


def test_a_graph_that_was_applied_is_not_changed_again(tmp_path) -> None:
    once = apply(save(tmp_path / "given" / "m.onnx", model(EVERYTHING)), tmp_path / "once")
    twice = apply(once, tmp_path / "twice")
    assert (once.digest, once.inputs, once.outputs) == (twice.digest, twice.inputs, twice.outputs)
    assert once.functions


class Broken(ir.passes.InPlacePass):
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        raise ZeroDivisionError("of course")


def test_a_pass_that_fails_is_named_with_those_before(tmp_path) -> None:
    record = tiny_graphs.make(tmp_path / "given")
    with pytest.raises(TransformError) as caught:
        apply(record, tmp_path / "out", passes=(*DEFAULT[:2], Broken))
    assert "Broken failed: of course" in str(caught.value)
    assert "FoldConstants, RemoveIdentities" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not list((tmp_path / "out").iterdir())


def test_nan_in_the_weights_stays_the_error_that_it_is(tmp_path) -> None:
    record = tiny_graphs.make(tmp_path / "given")
    (data,) = external_files(record.path)
    content = np.fromfile(data, np.float32)
    content[5] = np.nan
    content.tofile(data)
    with pytest.raises(NumericsError, match="NaN"):
        apply(record, tmp_path / "out")


def test_the_given_files_are_left_as_they_are(tmp_path) -> None:
    record = tiny_graphs.make(tmp_path / "given")
    before = describe(record.path)
    apply(record, tmp_path / "out")
    assert describe(record.path) == before


def test_a_folder_with_a_graph_is_refused(tmp_path) -> None:
    record = tiny_graphs.make(tmp_path / "given")
    with pytest.raises(TransformError, match="holds a graph already"):
        apply(record, tmp_path / "given")


def test_data_that_is_missing_is_found_before_anything_is_written(tmp_path) -> None:
    record = tiny_graphs.make(tmp_path / "given")
    external_files(record.path)[0].unlink()
    with pytest.raises(CorruptArtefactError):
        apply(record, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_data_may_be_split(tmp_path, monkeypatch) -> None:
    record = tiny_graphs.make(tmp_path / "given")
    whole = apply(record, tmp_path / "whole")
    monkeypatch.setattr(store_weights, "FILE_LIMIT", 2000)
    split = apply(record, tmp_path / "split")
    inputs = {name: np.ones((2, 5), np.int64) for name in ("input_ids", "attention_mask")}
    assert len(external_files(split.path)) > 2
    assert np.array_equal(compute(whole.path, inputs)[0], compute(split.path, inputs)[0])


# --- a real export ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def export(tmp_path_factory) -> tuple[OnnxModel, dict[str, np.ndarray], np.ndarray]:
    """A random BertModel with mean pooling, as the dynamo exporter writes it; inputs; what torch answers."""
    import torch

    from tests.tiny_models import tiny

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny("bert")

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1e-9))

    module = Pooled().eval()
    ids = torch.arange(3 * 7).reshape(3, 7)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.no_grad():
        reference = module(ids, mask).numpy()
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    dims = {0: "batch_size", 1: "seq_len"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            module, (ids, mask), dynamo=True, opset_version=18, dynamic_shapes=(dims, dims),
            input_names=["input_ids", "attention_mask"], output_names=["output"],
        )  # fmt: skip
    assert program is not None
    program.save(path, external_data=True)
    return describe(path), {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}, reference


def test_a_real_export_keeps_its_numbers(export, tmp_path) -> None:
    record, inputs, reference = export
    applied = apply(record, tmp_path)
    assert (applied.inputs, applied.outputs) == (record.inputs, record.outputs)
    before, after = compute(record.path, inputs)[0], compute(applied.path, inputs)[0]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-7)
    np.testing.assert_allclose(after, reference, rtol=1e-5, atol=1e-6)


def test_a_real_export_fits_fp16_and_holds_no_path_of_this_machine(export, tmp_path) -> None:
    record, _, _ = export
    applied = apply(record, tmp_path)
    graph = read(applied.path)
    for each in weights.graphs(graph):
        for value in each.initializers.values():
            if value.dtype == ir.DataType.FLOAT:
                assert np.isfinite(value.const_value.numpy().astype(np.float16)).all()
    assert b"site-packages" in record.path.read_bytes()
    content = applied.path.read_bytes()
    assert b"site-packages" not in content and b"stack_trace" not in content and b".py" not in content
    scopes = {node.metadata_props.get(weights.NAME_SCOPES, "") for node in graph.graph}
    assert any("model.encoder.layer.1.attention.self" in one for one in scopes)
    assert len(content) < len(record.path.read_bytes()) / 3


def test_a_real_export_is_changed_once(export, tmp_path) -> None:
    once = apply(export[0], tmp_path / "once")
    assert apply(once, tmp_path / "twice").digest == once.digest
    assert not run(read(once.path), passes())


def test_two_processes_write_equal_bytes(export, tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; from QEfficient.onnx_transforms import apply, describe;"
        "print(apply(describe(Path(sys.argv[1])), Path(sys.argv[2])).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(export[0].path), str(tmp_path / seed)],
            capture_output=True,
            text=True,
            check=True,
            env=child_environment(tmp_path, PYTHONHASHSEED=seed),
        ).stdout.strip()  # fmt: skip
        for seed in ("1", "2")
    }
    assert digests == {apply(export[0], tmp_path / "here").digest}


# --- memory ----------------------------------------------------------------------------------------------------------

MEMORY = """
import json, re, sys
from pathlib import Path
from QEfficient.onnx_transforms import apply, describe
# Not ru_maxrss: that one starts at the peak of the process that made this one.
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
apply(describe(Path(sys.argv[1])), Path(sys.argv[2]) / "warm")
before = peak()
applied = apply(describe(Path(sys.argv[3])), Path(sys.argv[2]) / "out")
print(json.dumps({"extra": peak() - before, "digest": applied.digest}))
"""


def large(folder: Path, layers: int, width: int) -> Path:
    """A chain of matrix products; the weights are written as they are made, the last two are equal."""
    folder.mkdir()
    random, size = np.random.default_rng(0), width * width * 4
    steps = "".join(f"a{i + 1} = MatMul (a{i}, w{i}) " for i in range(layers))
    graph = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 18]> g (float[n, {width}] a0) => (float[n, {width}] y)'
        f"{{ {steps} y = Relu (a{layers}) }}"
    )
    with open(folder / "model.onnx.data", "wb") as file:
        for index in range(layers):
            if index < layers - 1:
                block = random.random((width, width), np.float32)
            file.write(block.tobytes())
            tensor = graph.graph.initializer.add(
                name=f"w{index}", dims=[width, width], data_type=1, data_location=onnx.TensorProto.EXTERNAL
            )
            tensor.external_data.add(key="location", value="model.onnx.data")
            tensor.external_data.add(key="offset", value=str(index * size))
    onnx.save_model(graph, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.slow
def test_a_gigabyte_of_weights_passes_through_little_memory(tmp_path) -> None:
    big, small = large(tmp_path / "big", 16, 4096), tiny_graphs.make(tmp_path / "small").path
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(small), str(tmp_path), str(big)],
        capture_output=True, text=True, check=True, env=child_environment(tmp_path),
    )  # fmt: skip
    extra = json.loads(done.stdout)["extra"]
    size = external_files(big)[0].stat().st_size
    print(f"weights: {size / 2**20:.0f} MiB, extra peak memory of apply(): {extra / 2**20:.0f} MiB")
    assert size >= 2**30 and 0 < extra < size / 8
    assert external_files(tmp_path / "out" / "model.onnx")[0].stat().st_size == size * 15 // 16  # two are equal


def child_environment(folder: Path, **more: str) -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).parents[2]), "QEFF_HOME": str(folder / "home"), "PATH": "", **more}
