"""The exporter: what it writes, what it refuses, what it leaves alone."""

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from QEfficient.errors import ExportError, NumericsError
from QEfficient.export.exporter import check_finite, traced
from QEfficient.onnx_transforms import apply, finish
from QEfficient.pytorch_transforms.embedding import text_inputs
from QEfficient.records import OnnxModel, TensorSpec
from tests.exported import export
from tests.tiny_models import batch, chain, tiny

NAMES = ("input_ids", "attention_mask")
IDS = tuple(TensorSpec(name, "int64", ("batch_size", "seq_len")) for name in NAMES)


class Small(nn.Module):
    """Small, quick to export, with a weight above the size that goes into external data."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.drop = nn.Dropout(0.5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.drop(self.table(input_ids)) * attention_mask.unsqueeze(-1)
        return states.sum(dim=1)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Small, OnnxModel]:
    module = Small()
    return module, export(module, inputs=IDS, outputs=("logits",), folder=tmp_path_factory.mktemp("small"))


def test_what_is_written(small: tuple[Small, OnnxModel]) -> None:
    _, model = small
    names = sorted(path.name for path in model.path.parent.iterdir())
    assert names == ["model.onnx", "model.onnx.data"]
    proto = onnx.load(model.path)
    onnx.checker.check_model(proto, full_check=True)
    assert {(opset.domain, opset.version) for opset in proto.opset_import} == {("", 18)}
    assert model.inputs == IDS
    assert model.outputs == (TensorSpec("logits", "float32", ("batch_size", 8)),)
    assert any("name_scopes" in entry.key for node in proto.graph.node for entry in node.metadata_props)


def test_passes_in_memory_write_what_they_write_from_a_file(small: tuple[Small, OnnxModel], tmp_path: Path) -> None:
    module, model = small
    with traced(module, inputs=IDS, outputs=("logits",)) as graph:
        made = finish(graph, tmp_path / "memory")
        weights = list(graph.graph.initializers.values())
    assert made.digest == apply(model, tmp_path / "file").digest
    assert all(weight.const_value is None for weight in weights)  # nothing of the graph holds on to them


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 1), (7, 5)])
def test_any_batch_and_length(small: tuple[Small, OnnxModel], shape: tuple[int, int]) -> None:
    module, model = small
    ids, mask = torch.randint(0, 50, shape), torch.randint(0, 2, shape)
    session = onnxruntime.InferenceSession(model.path)
    (got,) = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), module.eval()(ids, mask))


def test_dropout_is_off_and_the_mode_is_put_back(tmp_path: Path) -> None:
    module = Small().train()
    module.table.eval()
    export(module, inputs=IDS, folder=tmp_path)
    assert (module.training, module.drop.training, module.table.training) == (True, True, False)
    assert "Dropout" not in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}


def test_it_is_silent_and_changes_no_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = (list(warnings.filters), list(logger.filters), logger.level, torch.is_grad_enabled())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        export(Small(), inputs=IDS, folder=tmp_path)
        assert warnings.filters == inside
    assert (
        not seen
        and not [record for record in caplog.records if record.levelno >= logging.INFO]
        and capfd.readouterr() == ("", "")
    )
    assert before == (list(warnings.filters), list(logger.filters), logger.level, torch.is_grad_enabled())


def test_other_warnings_of_the_model_come_through(tmp_path: Path) -> None:
    class Warning_(Small):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            warnings.warn("the model's own warning", stacklevel=1)
            return super().forward(input_ids, attention_mask)

    with pytest.warns(UserWarning, match="the model's own warning"):
        export(Warning_(), inputs=IDS, folder=tmp_path)


def test_a_model_that_depends_on_its_data_is_refused(tmp_path: Path) -> None:
    class Depends(Small):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            if input_ids.sum() > 3:
                return super().forward(input_ids, attention_mask)
            return self.table(input_ids).sum(dim=1)

    module = Depends().train()
    with pytest.raises(ExportError, match="refused Depends") as caught:
        export(module, inputs=IDS, folder=tmp_path)
    assert caught.value.__cause__ is not None and "do:" in str(caught.value)
    assert module.training and not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["table.weight", "scale"])
def test_a_weight_that_is_no_number_is_named(tmp_path: Path, value: float, name: str) -> None:
    module = Small()
    module.register_buffer("scale", torch.ones(3))
    check_finite(module)
    dict([*module.named_parameters(), *module.named_buffers()])[name].data.view(-1)[1] = value
    with pytest.raises(NumericsError, match=name):
        export(module, inputs=IDS, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_card_gets_no_scatter_no_einsum_and_no_gather_by_coordinates(tmp_path: Path) -> None:
    """Every mode at once on BERT. Gather itself is what an embedding table is."""
    module = chain(tiny("bert"), "mean")
    modes = ["cls", "last_token", "max", "mean", "mean_sqrt_len", "weighted_mean"]
    from QEfficient.pytorch_transforms.head import HeadModule

    module.head = HeadModule(({"step": "pooling", "modes": modes}, {"step": "normalize"}))
    model = export(module, inputs=text_inputs(module.encoder), folder=tmp_path)
    kinds = {node.op_type for node in onnx.load(model.path, load_external_data=False).graph.node}
    assert not kinds & {"GatherND", "GatherElements", "ScatterND", "ScatterElements", "Einsum", "NonZero", "IsNaN"}
    session = onnxruntime.InferenceSession(model.path)
    for shape in ((1, 1, "none"), (3, 7, "left"), (3, 7, "holes"), (4, 24, "right")):
        inputs = batch(shape[0], shape[1], padding=shape[2])
        (got,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            expected = module(**inputs)
        torch.testing.assert_close(torch.from_numpy(got), expected, rtol=0, atol=1e-5)


_TWICE = """
import sys
from pathlib import Path
from tests.exported import export
from QEfficient.onnx_transforms import apply
from QEfficient.pytorch_transforms.embedding import text_inputs
from tests.tiny_models import chain, tiny
raw = Path(sys.argv[1]) / "raw"
raw.mkdir(parents=True)
module = chain(tiny("roberta"), "mean")
print(apply(export(module, inputs=text_inputs(module.encoder), folder=raw), Path(sys.argv[1]) / "done").digest)
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", _TWICE, str(tmp_path / seed)]
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "QEFF_HOME": str(tmp_path), "OMP_NUM_THREADS": "2"}
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2]
        )
        digests.append(done.stdout.strip())
    assert digests[0] == digests[1] and len(digests[0]) == 64


def test_a_ctrl_c_that_torch_s_clean_up_hides_is_a_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **keywords: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("Trying to pop empty mode stack")

    monkeypatch.setattr(torch.onnx, "export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(nn.Linear(1, 1), inputs=IDS[:1], folder=tmp_path)
