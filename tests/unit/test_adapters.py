"""Adapters in PEFT's format: merged, part of the key, and never left out without a word."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification, hub
from QEfficient.errors import LoadError, MissingExtraError, QEfficientError, UsageError
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.module_kinds import unwrapped
from tests.tiny_repo import TOKENIZER_FILES, tiny_repo
from tests.unit.test_hub import _example

TEXTS = ["My name is", "What an adapter adds must not get lost on the way", "no"]
IDS = torch.tensor([[101, 2026, 2171, 2003, 102], [101, 7592, 2088, 999, 102]])
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LORA = {"r": 4, "lora_alpha": 24, "target_modules": ["query", "value", "dense"]}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base``: a sentence-transformers repo; ``adapter``: a LoRA of it alone; ``both``: the two in one folder."""
    folder = tmp_path_factory.mktemp("adapters")
    tiny_repo(folder / "base")
    adapter(folder, "adapter", peft.LoraConfig(**LORA))
    shutil.copytree(folder / "base", folder / "both")
    for name in (CONFIG, WEIGHTS):
        shutil.copy(folder / "adapter" / name, folder / "both" / name)
    for path in (folder / "base").iterdir():  # what sentence-transformers saves beside an adapter
        if path.name not in ("config.json", "model.safetensors"):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / "adapter" / path.name)
    return folder


def adapter(folder: Path, name: str, config: Any, kind: Any = AutoModel, **keywords: Any) -> Any:
    """Writes an adapter of the base with random weights; returns the model with it, not merged."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(7)
        base = kind.from_pretrained(folder / "base", attn_implementation="eager", **keywords)
        wrapped = peft.get_peft_model(base, config)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(0.0, 0.3)
        wrapped.save_pretrained(folder / name, safe_serialization=True)
    return wrapped.eval()


def loaded(folder: Path, auto_class: str = "AutoModel", **keywords: Any) -> Any:
    from QEfficient import hub

    return Checkpoint(hub.resolve(folder), auto_class, keywords=keywords).module()


def outputs(model: Any) -> list[np.ndarray]:
    with torch.no_grad():
        found = model(input_ids=IDS, attention_mask=torch.ones_like(IDS))
    return [value.numpy() for value in found.values() if isinstance(value, torch.Tensor)]


def assert_same(model: Any, other: Any) -> None:
    """In float64: products in float32 round otherwise with other threads and CPUs."""
    for ours, theirs in zip(outputs(deepcopy(model).double()), outputs(deepcopy(other).double()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5)


@pytest.fixture
def without_peft(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "peft", None)
    yield


# ------------------------------------------------------------------------------------------------ right values


def test_the_merged_weight_is_the_one_that_is_computed_by_hand(folders: Path) -> None:
    base, change = load_file(folders / "base" / "model.safetensors"), load_file(folders / "adapter" / WEIGHTS)
    for folder in ("adapter", "both"):
        state = loaded(folders / folder).state_dict()
        for name, weight in base.items():
            a = change.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
            if a is None:
                assert torch.equal(state[name], weight)
            else:
                b = change[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"]
                torch.testing.assert_close(state[name], weight + LORA["lora_alpha"] / LORA["r"] * b @ a)
                assert (state[name] - weight).abs().max() > 0.1


def test_the_whole_road(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors as sentence-transformers gives them with peft; once the program is made, peft is not needed any more."""
    from sentence_transformers import SentenceTransformer

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"peft>=0\.21\.2,<1") as caught:
        QEFFAutoModel.from_pretrained(folders / "adapter", pooling="auto").compile(seq_len=32)
    assert "QEfficient[adapters]" in str(caught.value)
    monkeypatch.setitem(sys.modules, "peft", peft)

    model = QEFFAutoModel.from_pretrained(folders / "adapter", pooling="auto")
    path = model.compile(seq_len=32)
    ours = model.encode(TEXTS)
    theirs = SentenceTransformer(str(folders / "adapter"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    bare = SentenceTransformer(str(folders / "base"), device="cpu").encode(TEXTS)
    assert np.abs(bare - theirs).max() > 0.1

    monkeypatch.setitem(sys.modules, "peft", None)
    warm = QEFFAutoModel.from_pretrained(folders / "adapter", pooling="auto")
    assert warm.compile(seq_len=32) == path
    saved = QEFFAutoModel.from_pretrained(warm.save_pretrained(tmp_path / "saved"))
    for each in (warm, saved):
        np.testing.assert_array_equal(each.encode(TEXTS), ours)
    assert warm.config.hidden_size == 32


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(**LORA, use_rslora=True),
        peft.LoraConfig(**LORA, use_dora=True),
        peft.LoraConfig(**LORA, bias="all"),
        peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["pooler"]),
        peft.LoraConfig(r=2, target_modules=["word_embeddings", "key"]),
        peft.LoraConfig(**LORA, rank_pattern={"query": 2}, alpha_pattern={"value": 3}),
        peft.LoraConfig(**LORA, task_type="CAUSAL_LM"),
        peft.IA3Config(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]),
        peft.LoHaConfig(r=2, target_modules=["query"]),
        peft.VeraConfig(r=2, target_modules=["query"]),
    ],
    ids=["rslora", "dora", "bias", "modules_to_save", "embeddings", "patterns", "generative", "ia3", "loha", "vera"],
)
def test_every_kind_that_changes_weights(folders: Path, tmp_path: Path, config: Any) -> None:
    shutil.copytree(folders / "base", tmp_path / "base")
    if config.task_type == "CAUSAL_LM":  # made with the language model: its encoder's share is taken
        config.task_type = None
        whole = adapter(tmp_path, "it", config)
        text = (tmp_path / "it" / CONFIG).read_text().replace('"task_type": null', '"task_type": "CAUSAL_LM"')
        (tmp_path / "it" / CONFIG).write_text(text)
    else:
        whole = adapter(tmp_path, "it", config)
    merged = loaded(tmp_path / "it")
    assert_same(merged, whole)
    assert np.abs(outputs(merged)[0] - outputs(loaded(tmp_path / "base"))[0]).max() > 1e-3
    assert type(merged).__name__ == "BertModel"
    assert not [name for name, part in merged.named_modules() if type(part).__module__.startswith("peft")]


def test_torch_s_own_format(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "both", tmp_path / "both")
    torch.save(load_file(tmp_path / "both" / WEIGHTS), tmp_path / "both" / "adapter_model.bin")
    (tmp_path / "both" / WEIGHTS).unlink()
    assert_same(loaded(tmp_path / "both"), loaded(folders / "both"))


def test_a_head_comes_with_its_adapter_and_the_encoder_s_share_fits_an_encoder(folders: Path) -> None:
    config = peft.LoraConfig(**LORA, task_type="SEQ_CLS")
    whole = adapter(folders, "head", config, AutoModelForSequenceClassification, num_labels=3)
    assert_same(loaded(folders / "head", "AutoModelForSequenceClassification", num_labels=3), whole)
    assert_same(loaded(folders / "head"), whole.base_model.model.bert)
    with pytest.raises(LoadError, match="num_labels"):
        loaded(folders / "head", "AutoModelForSequenceClassification")  # two labels by default
    model = QEFFAutoModelForSequenceClassification.from_pretrained(folders / "head", num_labels=3)
    assert model.model_name and model._origin is not None
    with pytest.raises(LoadError, match="random numbers"):  # an encoder's adapter brings no head
        loaded(folders / "adapter", "AutoModelForSequenceClassification", num_labels=3)


def test_an_encoder_s_adapter_fits_a_model_with_a_head(folders: Path, tmp_path: Path) -> None:
    """As transformers has it, with the head of the base."""
    AutoModelForSequenceClassification.from_pretrained(folders / "base", num_labels=3).save_pretrained(
        tmp_path / "base"
    )
    for name in (CONFIG, WEIGHTS):
        shutil.copy(folders / "adapter" / name, tmp_path / "base" / name)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", attn_implementation="eager")
    assert_same(loaded(tmp_path / "base", "AutoModelForSequenceClassification"), theirs.eval())


def test_a_module_in_peft_s_wrapper(folders: Path) -> None:
    whole = adapter(folders, "wrapped", peft.LoraConfig(**LORA))
    model = QEFFAutoModel(whole)
    model.compile(seq_len=8, verify="off")
    found = model.generate({"input_ids": IDS})["output"]
    np.testing.assert_allclose(found, outputs(whole)[0], rtol=0, atol=2e-5)
    model.close()
    prompts = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="FEATURE_EXTRACTION")
    with pytest.raises(UsageError, match="learnt prompts"):
        QEFFAutoModel(adapter(folders, "prompts", prompts))


def test_what_puts_adapters_into_a_model_is_undone_too(folders: Path) -> None:
    base = AutoModel.from_pretrained(folders / "base", attn_implementation="eager")
    assert unwrapped(peft.LoraModel(base, peft.LoraConfig(**LORA), "default")) is base


def test_adapters_that_work_otherwise_for_each_row_are_refused(folders: Path, tmp_path: Path) -> None:
    """What steers them stands outside of HuggingFace's model, which alone would give other numbers."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = LlamaConfig(vocab_size=32, use_cache=False, pad_token_id=0, **sizes)
    one = peft.LoraConfig(r=2, target_modules=["q_proj"])
    mixed = peft.XLoraConfig(hidden_size=16, adapters={"0": str(tmp_path)}, xlora_depth=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.get_peft_model(LlamaForSequenceClassification(decoder), one).save_pretrained(tmp_path)
        whole = peft.get_peft_model(LlamaForSequenceClassification(decoder), mixed)
    with pytest.raises(UsageError, match="mixed anew for each text, by a model beside it"):
        QEFFAutoModelForSequenceClassification(whole)
    some = peft.LoraConfig(r=2, target_modules=["q_proj"], alora_invocation_tokens=[1, 2], task_type="CAUSAL_LM")
    with pytest.raises(UsageError, match="only some tokens switch on"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        QEFFAutoModel(peft.get_peft_model(LlamaForCausalLM(decoder), some))
    poly = peft.PolyConfig(r=2, n_tasks=2, n_skills=2, n_splits=1, target_modules=["query"])
    with pytest.raises(UsageError, match="mixed by a task that comes with each row"):
        QEFFAutoModel(adapter(folders, "poly", poly))


def test_a_module_with_adapters_of_several_kinds(folders: Path) -> None:
    """``get_peft_model(…, mixed=True)``, whose wrapper is another: two kinds, both active, as peft has it."""
    base = AutoModel.from_pretrained(folders / "base", attn_implementation="eager")
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers by a name that is deprecated
        torch.manual_seed(7)
        whole = peft.get_peft_model(base, peft.LoraConfig(**LORA), "one", mixed=True)
        whole.add_adapter("two", peft.LoHaConfig(r=2, target_modules=["key", "query"]))
        whole.set_adapter(["one", "two"])
        for name, parameter in whole.named_parameters():
            if "lora_" in name or "hada_" in name:
                parameter.data.normal_(0.0, 0.3)
    model = QEFFAutoModel(whole.eval())
    model.compile(seq_len=8, verify="off")
    found = model.generate({"input_ids": IDS})["output"]
    wanted = outputs(whole)[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)
    whole.set_adapter("one")
    assert np.abs(np.asarray(outputs(whole)[0]) - found).max() > 0.01
    model.close()


# ------------------------------------------------------------------------------------------------ which files


def test_all_files_are_part_of_the_key(folders: Path, tmp_path: Path) -> None:
    from QEfficient.cache import content_key

    shutil.copytree(folders / "base", tmp_path / "base")
    shutil.copytree(folders / "adapter", tmp_path / "it")
    config = tmp_path / "it" / CONFIG
    config.write_text(config.read_text().replace(str(folders / "base"), str(tmp_path / "base")))

    def key() -> str:
        return content_key(QEFFAutoModel.from_pretrained(tmp_path / "it")._recipe(False, "on").ingredients() or {})

    keys = [
        key(),
        content_key(QEFFAutoModel.from_pretrained(tmp_path / "base")._recipe(False, "on").ingredients() or {}),
    ]
    for path in (tmp_path / "it" / WEIGHTS, tmp_path / "base" / "model.safetensors"):
        state = load_file(path)
        first = sorted(state)[0]
        save_file({**state, first: state[first] + 1}, path, metadata={"format": "pt"})
        keys.append(key())
    config.write_text(config.read_text().replace('"lora_alpha": 24', '"lora_alpha": 12'))
    keys.append(key())
    assert len(set(keys)) == 5


def test_the_base_of_an_id_is_found_in_the_hub_s_cache(folders: Path, tmp_path: Path) -> None:
    seed = _example("offline_hub_cache").seed
    shutil.copytree(folders / "adapter", tmp_path / "adapter")
    for name in (*TOKENIZER_FILES, "modules.json", "sentence_bert_config.json"):
        (tmp_path / "adapter" / name).unlink()
    config = json.loads((tmp_path / "adapter" / CONFIG).read_text())
    (tmp_path / "adapter" / CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": "some/base"}))
    seed(tmp_path / "adapter", "some/adapter", tmp_path / "hub")
    with pytest.raises(LoadError, match="base model of the adapter 'some/adapter' can't be found") as caught:
        QEFFAutoModel.from_pretrained("some/adapter", cache_dir=tmp_path / "hub", local_files_only=True)
    assert "some/base" in str(caught.value) and "HF_HUB_OFFLINE=0" in str(caught.value)
    seed(folders / "base", "some/base", tmp_path / "hub")
    model = QEFFAutoModel.from_pretrained("some/adapter", cache_dir=tmp_path / "hub", revision="main")
    assert isinstance(model._origin, Checkpoint) and "some--base" in str(model._origin.model_folder)
    assert model._origin.folder == model._origin.model_folder  # the adapter has no tokenizer of its own
    assert_same(model._origin.module(), loaded(folders / "adapter"))


def test_an_adapter_s_config_beside_a_config_without_weights_names_the_base(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "adapter", tmp_path / "it")
    shutil.copy(folders / "base" / "config.json", tmp_path / "it" / "config.json")
    assert_same(loaded(tmp_path / "it"), loaded(folders / "adapter"))


# ------------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"base_model_name_or_path": None}, "does not name its base model"),
        ({"base_model_name_or_path": "no/such"}, "base model of the adapter .* can't be found"),
        ({"peft_type": None}, "not one in PEFT's format"),
        ({"alora_invocation_tokens": [1, 2]}, "can't be merged into weights"),
        ({"peft_type": "NONSENSE"}, "could not merge the adapter"),
        ({"target_modules": ["elsewhere"]}, "could not merge the adapter"),
        ({"r": 8}, "could not merge the adapter"),
        ({"target_modules": ["query", "key", "value", "dense"]}, "4 missing"),
        ({"target_modules": ["query", "dense"]}, "that belong nowhere"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_adapter_that_can_t_be_right_is_refused(folders: Path, tmp_path: Path, change: Any, what: str) -> None:
    shutil.copytree(folders / "adapter", tmp_path / "it")
    config = json.loads((tmp_path / "it" / CONFIG).read_text())
    (tmp_path / "it" / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(LoadError, match=what) as caught:
        loaded(tmp_path / "it")
    assert caught.value.got and caught.value.allowed and caught.value.do


def test_learnt_prompts_are_refused(folders: Path) -> None:
    adapter(folders, "prompt", peft.PromptTuningConfig(num_virtual_tokens=3, task_type="FEATURE_EXTRACTION"))
    with pytest.raises(LoadError, match="can't be merged into weights") as caught:
        loaded(folders / "prompt")
    assert "PROMPT_TUNING" in str(caught.value)


def test_a_missing_file_is_named(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "both", tmp_path / "it")
    (tmp_path / "it" / WEIGHTS).unlink()
    with pytest.raises(LoadError, match="but not its weights"):
        loaded(tmp_path / "it")
    config = json.loads((folders / "adapter" / CONFIG).read_text())
    shutil.copytree(folders / "adapter", tmp_path / "chain")
    text = json.dumps(config | {"base_model_name_or_path": str(folders / "both")})
    (tmp_path / "chain" / CONFIG).write_text(text)
    with pytest.raises(LoadError, match="no plain model") as caught:
        loaded(tmp_path / "chain")
    assert "an adapter itself" in str(caught.value)


def test_keywords_of_the_adapter(folders: Path) -> None:
    assert_same(loaded(folders / "both", adapter_name="other", adapter_kwargs={}), loaded(folders / "both"))
    with pytest.raises(UsageError, match="no keywords of its own"):
        loaded(folders / "both", adapter_kwargs={"revision": "v2"})


def test_without_peft_each_entry_says_how_to_get_it(folders: Path, without_peft: None) -> None:
    model = QEFFAutoModel.from_pretrained(folders / "both")
    for call in (model.export, lambda: model.model, lambda: model.generate({"input_ids": IDS}, runtime_ai100=False)):
        with pytest.raises(QEfficientError, match="pip install"):
            call()


def test_a_language_s_own_weights_are_part_of_the_key(tmp_path: Path) -> None:
    """Speech models keep them in a file that only ``target_lang`` names."""
    from QEfficient import QEFFAutoModelForCTC

    for name, text in {"config.json": '{"model_type": "wav2vec2"}', "model.safetensors": "base"}.items():
        (tmp_path / name).write_text(text)
    keys = []
    for text in ("one", "two"):
        (tmp_path / "adapter.fra.safetensors").write_text(text)
        keys += [
            QEFFAutoModelForCTC.from_pretrained(tmp_path, target_lang=language)._recipe(False, "on").ingredients()
            for language in ("fra", "deu")
        ]
    assert keys[0] != keys[2]
    assert keys[1] == keys[3]


def test_a_head_s_adapter_on_a_base_that_was_saved_as_a_generative_model(tmp_path: Path) -> None:
    """What the base was saved as says nothing of the head, which the adapter brings."""
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=50)).save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj", "v_proj"])
    keywords = {"num_labels": 1, "pad_token_id": 0}
    theirs = adapter(tmp_path, "head", config, AutoModelForSequenceClassification, **keywords)
    ours = QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path / "head", **keywords)
    inputs = {"input_ids": torch.tensor([[5, 6, 7, 8]])}
    with torch.no_grad():
        wanted = theirs(**inputs).logits.numpy()
    assert np.abs(ours.generate(inputs, runtime_ai100=False)["logits"] - wanted).max() < 1e-5


def test_dtype_auto_of_an_adapter_is_its_base_s(folders: Path, tmp_path: Path) -> None:
    repo = shutil.copytree(folders / "adapter", tmp_path / "adapter")
    model = QEFFAutoModel.from_pretrained(repo, pooling="auto", dtype="auto")
    assert model.dtype == torch.float32


def test_a_pickle_does_not_look_for_the_base_again(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(QEFFAutoModel.from_pretrained(folders / "adapter", pooling="auto"))
    monkeypatch.setattr(hub, "resolve", None)
    again = pickle.loads(content)
    assert again._origin.adapter.base == folders / "base"
