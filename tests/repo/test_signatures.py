"""Public signatures beside those of sentence-transformers and transformers: each difference has its reason here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import transformers
from huggingface_hub import HfApi
from sentence_transformers import CrossEncoder, SentenceTransformer

import QEfficient
from QEfficient import QEFFAutoModel, QEFFAutoModelForSequenceClassification

TESTED = {"sentence-transformers": "6.2", "transformers": "5.24"}
INSTALLED = {package: ".".join(version(package).split(".")[:2]) for package in TESTED}
OTHER = {package: found for package, found in INSTALLED.items() if found != TESTED[package]}

pytestmark = pytest.mark.skipif(
    bool(OTHER), reason=f"signatures were compared with {TESTED}, and {OTHER} is installed: compare again, set TESTED"
)

Missing = dict[str, str]

# Parameters of theirs that ours has not, or takes in another place.
LATER_SAVED = "a program is saved whole: graph, weights and tokenizer in the files that it runs from"
WEIGHTS = "of weights in HuggingFace's own format; a program's are part of its graph"
CARD = "of the model card that sentence-transformers writes; a program has a manifest"
BY_NAME = "by keyword only, as transformers has it"
PARAMETERS: dict[str, Missing] = {
    "SentenceTransformer.encode": {"**": "of modules' own keywords, which graphs have not; task= is one of ours"},
    "SentenceTransformer.save_pretrained": {
        "path": "the first argument has transformers' name, save_directory",
        "model_name": CARD,
        "create_model_card": CARD,
        "train_datasets": CARD,
        "safe_serialization": LATER_SAVED,
    },
    "SentenceTransformer.push_to_hub": {
        "safe_serialization": LATER_SAVED,
        "commit_message": BY_NAME,
        "exist_ok": BY_NAME,
        "revision": BY_NAME,
        "create_pr": BY_NAME,
        "local_model_path": "what is uploaded is the program; save_pretrained gives a folder to upload by hand",
        "replace_model_card": CARD,
        "train_datasets": CARD,
    },
    "SentenceTransformer.compile": {
        "*": "torch.compile's; here compile makes the program, with the vendor's keywords",
    },
    "SentenceTransformer.to": {
        "*": "of a module's dtype and device; programs run where they were compiled for",
        "**": "likewise",
    },
    "SentenceTransformer.forward": {"input": "pipelines call forward as transformers' models do: inputs have names"},
    "CrossEncoder.predict": {"**": "of modules' own keywords, which graphs have not"},
    "PreTrainedModel.save_pretrained": {
        "is_main_process": LATER_SAVED,
        "state_dict": WEIGHTS,
        "push_to_hub": "a method of its own does it",
        "max_shard_size": WEIGHTS,
        "variant": WEIGHTS,
        "token": "with push_to_hub, the method",
        "save_peft_format": WEIGHTS,
        "save_original_format": WEIGHTS,
        "distributed_checkpoint": WEIGHTS,
        "**": "likewise",
    },
    "PreTrainedModel.push_to_hub": {
        "max_shard_size": WEIGHTS,
        "tags": CARD,
    },
    "PreTrainedModel.to": {"*": "as SentenceTransformer.to", "**": "likewise"},
    "PreTrainedModel.forward": {"*": "inputs have names"},
    "PreTrainedModel.compile": {"*": "torch.compile's"},
    "PreTrainedModel.__call__": {"*": "inputs have names"},
}
for name in ("save_pretrained", "push_to_hub", "compile", "to", "forward"):
    PARAMETERS[f"CrossEncoder.{name}"] = PARAMETERS[f"SentenceTransformer.{name}"]
for name in ("encode_query", "encode_document"):
    PARAMETERS[f"SentenceTransformer.{name}"] = {}

# Theirs runs an evaluator, which takes our objects as it is: evaluator(model).
for name in ("SentenceTransformer.evaluate", "CrossEncoder.evaluate"):
    PARAMETERS[name] = {"evaluator": "data= comes first, rows and no evaluator", "output_path": "of an evaluator's"}

# Defaults of ours that differ.
DEFAULTS: dict[str, Missing] = {
    "inputs": "None stands for left out: sentences=, the older name, may be given in its place",
    "batch_size": "None: the planner packs rows by length",
    "revision": "None is the repo's own default, which is main",
    "create_pr": "None is left to huggingface_hub, where it is False",
    "exist_ok": "a repo that exists gets another commit, as in transformers",
}

# Methods and properties of theirs that ours has not.
ADAPTERS, TRAINING = "adapters belong to the torch model: model.model", "a program is not trained"
TORCH = "of the torch module: model.model is HuggingFace's"
PROCESSES = "one process uses all CPUs, or all devices, by itself"
METHODS: Missing = {
    **dict.fromkeys(
        "active_adapter active_adapters add_adapter delete_adapter disable_adapters enable_adapters load_adapter "
        "set_adapter get_adapter_state_dict has_peft_compatible_model check_peft_compatible_model merge".split(),
        ADAPTERS,
    ),
    **dict.fromkeys(
        "fit old_fit smart_batching_collate smart_batching_collate_text_only gradient_checkpointing_enable "
        "get_sentence_features".split(),
        TRAINING + "; evaluators are called with the model",
    ),
    **dict.fromkeys("cuda cpu clear_placement_cache transformers_model set_keep_in_fp32_modules".split(), TORCH),
    **dict.fromkeys("encode_multi_process start_multi_process_pool stop_multi_process_pool".split(), PROCESSES),
    **dict.fromkeys(
        "tokenize tokenizer processor preprocess get_model_kwargs modalities supports is_singular_input".split(),
        "texts become rows inside; generate takes what transformers' tokenizer gives",
    ),
    **dict.fromkeys("save save_to_hub load".split(), "older names; save_pretrained, push_to_hub and from_pretrained"),
    **dict.fromkeys(
        "truncate_embeddings truncate_sentence_embeddings".split(), "truncate_dim= of the call, safe from many threads"
    ),
    **dict.fromkeys(
        "model_type default_huggingface_organization SUPPORTED_SIMILARITY_FN_NAMES".split(),
        "constants of sentence-transformers' own classes",
    ),
    **dict.fromkeys(
        "default_activation_function get_default_activation_fn".split(), "activation_fn= of the call goes before it"
    ),
    "model_card_data_class": CARD,
    "get_backend": "device_report() says it",
    "set_pooling_include_prompt": "pooling is part of the compiled graph; modules.json says it",
    "max_length": "max_seq_length, as the encoders call it",
    "num_labels": "config.num_labels",
}

THEIRS: dict[str, tuple[type, type]] = {
    "SentenceTransformer": (SentenceTransformer, QEFFAutoModel),
    "CrossEncoder": (CrossEncoder, QEFFAutoModelForSequenceClassification),
}


def own(kind: type) -> list[str]:
    """Public names that the class has beside those of torch's modules."""
    parts = [part for part in kind.__mro__ if part.__module__.startswith("sentence_transformers")]
    return sorted({name for part in parts for name in vars(part) if not name.startswith("_")})


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    found = inspect.signature(function).parameters
    return {stars.get(one.kind, name): one for name, one in found.items() if name != "self"}


def passed_on(function: Callable[..., Any]) -> set[str]:
    """What a ``**kwargs`` of ours is handed to takes."""
    if function.__name__ == "push_to_hub":
        return set(inspect.signature(HfApi.upload_folder).parameters)
    if function.__name__ == "from_pretrained":
        return set(inspect.signature(transformers.PreTrainedModel.from_pretrained).parameters)
    if function.__name__ in ("encode_query", "encode_document"):
        return set(parameters(QEFFAutoModel.encode))
    return set()


def differences(theirs: Callable[..., Any], ours: Callable[..., Any]) -> dict[str, str]:
    """Parameter of theirs → how ours differs: missing, another place, another default."""
    wanted, got = parameters(theirs), parameters(ours)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [name for name, one in got.items() if one.kind in kinds]
    found = {}
    for place, (name, one) in enumerate(wanted.items()):
        if name not in got:
            if name not in passed_on(ours) or one.kind is not one.KEYWORD_ONLY:
                found[name] = "missing"
        elif one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        elif one.kind in kinds and places[place : place + 1] != [name]:
            found[name] = "in another place"
        elif one.default != got[name].default and name not in DEFAULTS:
            found[name] = f"default {got[name].default!r}, theirs {one.default!r}"
    return found


def pairs() -> list[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """Name, their method, and ours of the same name."""
    made = [
        (f"{kind}.{name}", getattr(theirs, name), getattr(ours, name))
        for kind, (theirs, ours) in THEIRS.items()
        for name in own(theirs)
        if hasattr(ours, name) and callable(getattr(theirs, name))
    ]
    hugging = transformers.PreTrainedModel
    return made + [
        (f"PreTrainedModel.{name}", getattr(hugging, name), getattr(QEFFAutoModel, name))
        for name in (*[name for name in dir(hugging) if not name.startswith("_")], "__call__")
        if hasattr(QEFFAutoModel, name) and callable(getattr(hugging, name))
    ]


@pytest.mark.parametrize(("name", "theirs", "ours"), pairs(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_method_that_both_have_is_called_alike(
    name: str, theirs: Callable[..., Any], ours: Callable[..., Any]
) -> None:
    found = differences(theirs, ours)
    assert set(found) == set(PARAMETERS.get(name, {})), found


@pytest.mark.parametrize("kind", THEIRS)
def test_a_method_that_ours_has_not_is_known(kind: str) -> None:
    theirs, ours = THEIRS[kind]
    missing = {name for name in own(theirs) if not hasattr(ours, name)} - {"model"}  # ours are properties of instances
    assert not missing - set(METHODS)


def test_no_reason_outlives_its_difference() -> None:
    compared = {name for name, *_ in pairs()}
    assert not {name for name, listed in PARAMETERS.items() if listed and name not in compared}
    every = {name for theirs, ours in THEIRS.values() for name in own(theirs) if not hasattr(ours, name)}
    assert not set(METHODS) - every
    assert all(reason for listed in (METHODS, DEFAULTS, *PARAMETERS.values()) for reason in listed.values())


def test_older_names_of_the_first_argument_stay() -> None:
    for name in ("encode", "encode_iter"):
        assert "sentences" in parameters(getattr(QEFFAutoModel, name))


def test_a_loader_takes_what_transformers_takes() -> None:
    """By keyword, all of it; ours has pooling in the second place, as the vendor's package has."""
    for name in QEfficient.__all__:
        loader = getattr(getattr(QEfficient, name), "from_pretrained", None)
        if loader is not None and "Later" not in name:
            assert any(one.kind is one.VAR_KEYWORD for one in parameters(loader).values()), name
