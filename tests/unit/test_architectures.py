"""Facts about model types, those of ``tests/tiny_models.py`` checked against transformers' own configs and code.

That every file of facts is built by a test is checked in ``tests/sweep/test_facts.py``.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

import QEfficient.architectures
from QEfficient.architectures import Architecture, find
from tests.tiny_models import CONFIGS, LIMIT, VOCAB, batch, chain, known_types, tiny

KNOWN = [model_type for model_type in CONFIGS if model_type.replace("-", "_") in known_types()]


def test_where_huggingface_takes_longer_rows_than_are_right_here() -> None:
    """Such texts are refused: shortening them would give other vectors than sentence-transformers."""
    assert (find("big_bird").max_length({}), find("big_bird").whole_length({})) == (704, 4096)
    rope = {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 4096}
    phi3 = {"max_position_embeddings": 131072, **rope}
    assert (find("phi3").max_length(phi3), find("phi3").whole_length(phi3)) == (4096, 131072)
    assert find("bert").whole_length({}) == find("bert").max_length({}) == 512


@pytest.mark.parametrize("model_type", KNOWN)
def test_facts_are_found_by_model_type(model_type: str) -> None:
    assert find(model_type).model_type == find(model_type.replace("-", "_").upper()).model_type == model_type
    assert type(tiny(model_type)).config_class.model_type == model_type


@pytest.mark.parametrize("model_type", KNOWN)
def test_facts_of_an_empty_config_are_transformers_defaults(model_type: str) -> None:
    facts = find(model_type)
    defaults = transformers.AutoConfig.for_model(model_type).to_dict()
    assert facts.max_length({}) == facts.max_length(defaults)
    assert facts.pad_id({}) == facts.pad_id(defaults) == defaults["pad_token_id"]


@pytest.mark.parametrize(
    ("model_type", "config", "limit"),
    [
        ("bert", {}, 512),
        ("bert", {"max_position_embeddings": 2048}, 2048),
        ("electra", {}, 512),
        ("distilbert", {}, 512),
        ("roberta", {"max_position_embeddings": 514}, 512),
        ("roberta", {"max_position_embeddings": 514, "pad_token_id": 0}, 513),
        ("roberta", {"max_position_embeddings": 514, "pad_token_id": None}, 512),
        ("xlm-roberta", {"max_position_embeddings": 8194}, 8192),
        ("camembert", {"max_position_embeddings": 514}, 512),
        ("mpnet", {"max_position_embeddings": 514}, 512),
        ("mpnet", {"max_position_embeddings": 514, "pad_token_id": 0}, 512),
        ("t5", {"n_positions": 512}, None),
        ("big_bird", {}, 704),
        ("big_bird", {"attention_type": "original_full"}, 4096),
        ("big_bird", {"max_position_embeddings": 512}, 512),
        ("clip_text_model", {}, 77),
        ("esm", {}, 1024),
        ("esm", {"position_embedding_type": "rotary"}, 1026),
        ("lilt", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("longformer", {"max_position_embeddings": 4098}, 4096),
        ("xlm-roberta-xl", {}, 512),
        ("xlnet", {}, None),
        ("a-new-type", {"max_position_embeddings": 77}, 77),
        ("a-new-type", {"n_positions": 77}, 77),
        ("a-new-type", {}, None),
    ],
)
def test_limits(model_type: str, config: dict[str, int | None], limit: int | None) -> None:
    assert find(model_type).max_length(config) == limit


@pytest.mark.parametrize("model_type", [name for name in KNOWN if name != "t5"])
def test_a_model_takes_its_limit_and_not_one_token_more(model_type: str) -> None:
    model = tiny(model_type)
    limit = find(model_type).max_length(model.config.to_dict())
    assert limit == LIMIT
    with torch.no_grad():
        model(input_ids=torch.full((1, limit), VOCAB - 1))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, limit + 1), VOCAB - 1))


def test_t5_has_no_limit() -> None:
    with torch.no_grad():
        states = tiny("t5")(input_ids=torch.full((1, 700), VOCAB - 1)).last_hidden_state
    assert states.shape == (1, 700, 32) and torch.isfinite(states).all()


@pytest.mark.parametrize("model_type", KNOWN)
def test_every_block_is_swapped(model_type: str) -> None:
    swaps = find(model_type).swaps()
    kinds = {type(module) for module in chain(tiny(model_type)).modules()}
    assert {swap.target for swap in swaps} <= kinds
    assert not {swap.source for swap in swaps} & kinds


def test_the_encoder_of_an_encoder_decoder_is_its_encoder() -> None:
    config = tiny("t5").config
    whole = transformers.T5Model(config).eval()
    assert find("t5").encoder_of(whole) is whole.encoder
    bart = transformers.BartModel(
        transformers.BartConfig(
            vocab_size=VOCAB, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
            encoder_attention_heads=2, decoder_attention_heads=2,
        )
    )  # fmt: skip
    assert find("bart").encoder_of(bart) is bart.encoder
    bert = tiny("bert")
    assert find("bert").encoder_of(bert) is bert


def test_a_decoder_makes_its_own_mask() -> None:
    assert find("bert").mask_kind({}) == "additive"
    assert find("bert").mask_kind({"is_decoder": True}) == "own"


@pytest.mark.parametrize(
    "model_type", ["", "record", "table", "..errors", "os.path", "bert.bert", "__init__", "a-new-type"]
)
def test_a_type_that_is_not_known_gets_cautious_facts(model_type: str) -> None:
    facts = find(model_type)
    assert isinstance(facts, Architecture)
    assert (facts.mask, dict(facts.blocks), facts.part) == ("own", {}, "whole")
    assert facts.pad_id({"pad_token_id": 7}) == 7 and facts.pad_id({}) is None


def test_facts_need_no_torch_and_no_other_type_s_file() -> None:
    code = (
        "import sys; from QEfficient.architectures import find\n"
        "find('camembert'), find('xmod')\n"  # as RoBERTa: no other file is read
        "files = {name.rpartition('.')[2] for name in sys.modules if name.startswith('QEfficient.architectures.')}\n"
        "assert files == {'record', 'table', 'xmod'}, files\n"
    )
    code += "".join(
        f"find({name!r}).max_length({{}}); find({name!r}).pad_id({{}})\n" for name in (*CONFIGS, "a-new-type")
    )
    code += "assert not {'torch', 'transformers', 'onnx', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(QEfficient.architectures.__file__).parents[2])


def test_padding_ids_do_not_move_the_real_tokens() -> None:
    """RoBERTa types count positions by pad id: rows filled with it must not change."""
    for model_type in ("roberta", "mpnet", "bert"):
        model, facts = tiny(model_type), find(model_type)
        row = batch(1, 6, padding="none")
        ids = torch.cat([row["input_ids"], torch.full((1, 3), facts.pad_id(model.config.to_dict()))], dim=1)
        mask = torch.tensor([[1] * 6 + [0] * 3])
        with torch.no_grad():
            alone = model(input_ids=ids[:, :6], attention_mask=mask[:, :6]).last_hidden_state
            padded = model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :6]
        torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)
