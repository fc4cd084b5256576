"""What a layer costs, read from a config: compared with the matrix products that transformers runs."""

from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel
from transformers.pytorch_utils import Conv1D

from QEfficient.analysis.network import network
from QEfficient.analysis.physics import work
from QEfficient.analysis.run import parse

TOKENS = 8
SMALL = {
    "vocab_size": 64,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
T5 = {"vocab_size": 64, "d_model": 128, "num_heads": 4, "d_ff": 256}
SETTING = {"batch_size": 1, "seq_len": TOKENS, "num_cores": 1, "instances": 1, "set_size": 1, "multicast_weights": 0}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("bert", SMALL),
    "distilled": (
        "distilbert",
        {"vocab_size": 64, "dim": 128, "n_heads": 4, "hidden_dim": 384, "max_position_embeddings": 32},
    ),
    "narrow embeddings": ("electra", {**SMALL, "embedding_size": 32}),
    "shared": ("albert", {**SMALL, "embedding_size": 32}),
    "shared, several in a group": ("albert", {**SMALL, "embedding_size": 32, "inner_group_num": 3}),
    "bottleneck": ("mobilebert", {**SMALL, "intra_bottleneck_size": 32, "embedding_size": 32}),
    "relu": ("t5", {**T5, "d_kv": 32}),
    "narrow heads": ("t5", {**T5, "d_kv": 16}),
    "gated by name": ("mt5", {**T5, "d_kv": 32}),
    "gated, fewer keys": ("mistral", {**SMALL, "num_key_value_heads": 2}),
    "gated, wide heads": ("qwen3", {**SMALL, "num_key_value_heads": 2, "head_dim": 64}),
    "gated by type": ("gemma", {**SMALL, "num_key_value_heads": 1, "head_dim": 32}),
    "gated in one matrix": ("modernbert", SMALL),
    "as published": ("gte", SMALL),
}


@pytest.mark.parametrize(("model_type", "sizes"), CASES.values(), ids=CASES)
def test_a_layer_s_weights_are_those_that_run(model_type: str, sizes: dict[str, Any]) -> None:
    """One layer more in transformers multiplies so many weights more for each token; the formula says as many FLOPs."""
    fewer, _ = executed(model_type, sizes, 2)
    more, config = executed(model_type, sizes, 3)
    facts = network(config, "default")
    run = parse({**facts, **SETTING})
    assert work([run]).matmul[0] / run.layers == pytest.approx(2 * (more - fewer) * TOKENS / (run.layers // 3))


def executed(model_type: str, sizes: dict[str, Any], layers: int) -> tuple[float, dict[str, Any]]:
    """Weights that a token is multiplied with in the linear layers of a small model, and its config."""
    name = "n_layers" if model_type == "distilbert" else "num_layers" if "t5" in model_type else "num_hidden_layers"
    config = CONFIG_MAPPING[model_type](**{**sizes, name: layers})
    model = AutoModel.from_config(config).eval()
    model = model.encoder if "t5" in model_type else model
    found = []

    def note(module: Any, inputs: Any, output: torch.Tensor) -> None:
        found.append(module.weight.numel() * inputs[0].numel() / inputs[0].shape[-1] / TOKENS)

    for module in model.modules():
        if isinstance(module, torch.nn.Linear | Conv1D):
            module.register_forward_hook(note)
    with torch.no_grad():
        model(input_ids=torch.ones(1, TOKENS, dtype=torch.long))
    return sum(found), config.to_dict()


def test_a_mixture_of_experts_counts_with_all_of_them() -> None:
    """A compiled graph computes every expert for every token."""
    config = CONFIG_MAPPING["mixtral"](**SMALL, num_key_value_heads=4, num_local_experts=6, num_hidden_layers=2)
    facts = network(config.to_dict(), "default")
    assert facts["layer_weights"] == 4 * 128**2 + 6 * 3 * 128 * 384 and facts["layer_inner"] == 6 * 384


def test_layers_of_a_group_count_as_often_as_they_run() -> None:
    config = CONFIG_MAPPING["albert"](**SMALL, num_hidden_layers=6, inner_group_num=2).to_dict()
    assert network(config, "default")["layers"] == 12
    assert network({**config, "inner_group_num": None}, "default")["layers"] == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ("gelu", False)),
        ({"hidden_act": "gelu_new"}, ("gelu_new", False)),
        ({"hidden_act": "silu"}, ("silu", True)),
        ({"hidden_act": None}, (None, False)),
        ({"hidden_act": None, "feed_forward_proj": "relu"}, ("relu", False)),
        ({"hidden_act": None, "feed_forward_proj": "gated-gelu"}, ("gelu_new", True)),
        ({"hidden_act": None, "feed_forward_proj": "gated-silu"}, ("silu", True)),
    ],
)
def test_the_activation_is_what_the_config_says(changes: dict[str, Any], said: tuple[str | None, bool]) -> None:
    facts = network({"model_type": "bert", **SMALL, "hidden_act": "gelu", "num_hidden_layers": 1, **changes}, "default")
    assert (facts.get("hidden_act"), facts["gated"]) == said
