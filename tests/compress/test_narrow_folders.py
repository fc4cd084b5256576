"""Folders of models whose layers have widths of their own: read back bit for bit, or refused with the reason."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from QEfficient import QEFFAutoModel, hub
from QEfficient.compress.pruning.surgery import cut
from QEfficient.errors import LoadError
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.identity import tensors_digest
from QEfficient.train.sentence_model import sentence_transformer
from tests.compress.pruning import FAMILIES, LAYOUTS, chosen, cut_model, folder_of, groups, model
from tests.train import small

CLASSES = {"Model": "AutoModel", "ForSequenceClassification": "AutoModelForSequenceClassification"}


def read(folder: Path, auto_class: str = "AutoModel", **keywords: Any) -> Any:
    return Checkpoint(hub.resolve(folder), auto_class, keywords=keywords).module()


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_read_back_bit_for_bit(family: str, kind: str, tmp_path: Path) -> None:
    module = cut_model(family, kind)
    module.save_pretrained(tmp_path)
    checkpoint = Checkpoint(hub.resolve(tmp_path), CLASSES[kind])
    found: Any = checkpoint.module()
    assert type(found) is type(module) and checkpoint.class_name() == type(module).__name__
    assert tensors_digest(found) == tensors_digest(module)
    assert found.config.qefficient == module.config.qefficient
    assert sorted(found.config.qefficient["widths"]) == ["0", "1", "2"]
    found.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again == json.loads((tmp_path / "config.json").read_text())


@pytest.mark.parametrize("name", LAYOUTS)
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_cut_of_any_layout_is_read_back(name: str, seed: int, tmp_path: Path) -> None:
    made = cut(model(name), chosen(groups(name), seed))
    folder = tmp_path / str(seed)
    made.save_pretrained(folder)  # type: ignore[operator]
    assert tensors_digest(read(folder)) == tensors_digest(made)


def test_an_encoder_and_a_model_with_a_head_read_the_same_folder(tmp_path: Path) -> None:
    whole = cut_model("bert", "ForSequenceClassification")
    whole.save_pretrained(tmp_path / "whole")
    encoder = read(tmp_path / "whole")
    assert tensors_digest(encoder) == tensors_digest(whole.bert)
    encoder.save_pretrained(tmp_path / "encoder")
    made: Any = Checkpoint(hub.resolve(tmp_path / "encoder"), "AutoModelForSequenceClassification").to_train()
    assert type(made) is transformers.BertForSequenceClassification  # with a new head
    assert tensors_digest(made.bert) == tensors_digest(encoder)
    three = Checkpoint(
        hub.resolve(tmp_path / "whole"), "AutoModelForSequenceClassification", keywords={"num_labels": 3}
    )
    assert three.to_train().get_submodule("classifier").weight.shape == (3, 32)  # type: ignore[union-attr]


def test_another_dtype_and_a_config_of_the_callers(tmp_path: Path) -> None:
    module = cut_model("bert")
    module.save_pretrained(tmp_path)
    assert read(tmp_path, dtype="float16").dtype == torch.float16
    given = transformers.BertConfig.from_pretrained(tmp_path)
    assert tensors_digest(read(tmp_path, config=given)) == tensors_digest(module)


def test_transformers_alone_refuses_the_folder(tmp_path: Path) -> None:
    cut_model("bert").save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch|ignore_mismatched_sizes"):
        transformers.AutoModel.from_pretrained(tmp_path)


def widths(**layers: Any) -> dict[str, Any]:
    return {"qefficient": {"widths": layers}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (widths(**{"7": {"heads": 1}}), "layer 7: 1 heads, where the config's own layers have none"),
        (widths(**{"0": {"heads": 5}}), "layer 0: 5 heads, where the config's own layers have 4"),
        (widths(**{"0": {"feed_forward": 49}}), "layer 0: 49 inner values of the feed-forward"),
        (widths(**{"0": {"heads": 0}}), "layer 0: 'heads': 0"),
        (widths(**{"0": {"heads": 1.5}}), "layer 0: 'heads': 1.5"),
        (widths(**{"0": {"heads": True}}), "layer 0: 'heads': True"),
        (widths(**{"0": {"tails": 1}}), "layer 0: 'tails': 1"),
        (widths(**{"first": {"heads": 1}}), "layer 'first'"),
        (widths(**{"-1": {"heads": 1}}), "layer '-1'"),
        (widths(**{"0": 7}), "layer '0': 7"),
        ({"qefficient": {"widths": [7]}}, r"widths: \[7\]"),
        ({"qefficient": {"widths": None}}, "widths: None"),
        ({"qefficient": 7}, "qefficient: 7"),
        (widths(**{"0": {"heads": 1}}), "another shape|size mismatch|ignore_mismatched_sizes"),
        (widths(), "another shape|size mismatch|ignore_mismatched_sizes"),
        ({"num_hidden_layers": 2}, "layer 2: .*, where the config's own layers have none"),
    ],
)
def test_widths_that_do_not_fit(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    cut_model("bert").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LoadError, match=said):
        read(tmp_path)


def test_code_of_its_own_is_no_class_of_transformers(tmp_path: Path) -> None:
    cut_model("bert").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    auto_map = {"auto_map": {"AutoModel": "modeling.OwnModel"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | auto_map))
    with pytest.raises(LoadError, match="class OwnModel"):
        read(tmp_path, trust_remote_code=True)


def test_a_repo_of_sentence_transformers(tmp_path: Path) -> None:
    """Its first part is written and read by sentence-transformers alone; the wrapper keeps our module."""
    folder = folder_of(cut_model("bert"), tmp_path / "hf")
    module = read(folder)
    wrapper = sentence_transformer(module, small.tokenizer(folder), small.MEAN)
    assert wrapper[0].model is module
    wrapper.save_pretrained(str(tmp_path / "repo"), create_model_card=False)
    found = QEFFAutoModel.from_pretrained(tmp_path / "repo", pooling="auto")
    assert tensors_digest(found.model) == tensors_digest(module)
    found.compile(seq_len=32)
    wanted = wrapper.encode(small.TEXTS[:4], normalize_embeddings=True)
    assert np.abs(found.encode(small.TEXTS[:4]) - wanted).max() < 1e-5


def test_the_base_of_an_adapter(tmp_path: Path) -> None:
    base = folder_of(cut_model("bert"), tmp_path / "base")
    config = peft.LoraConfig(r=2, target_modules=["query", "dense"], init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers by an older name
        wrapped = peft.get_peft_model(read(base), config)
        wrapped.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(base)}))
    merged = wrapped.merge_and_unload()
    found = read(tmp_path / "adapter")
    assert type(found) is transformers.BertModel and found.config.qefficient == merged.config.qefficient
    ids = torch.arange(5, 15)[None]
    with torch.inference_mode():
        assert float((found(ids)[0] - merged(ids)[0]).abs().max()) < 1e-5
