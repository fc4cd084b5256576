"""Which layers a student keeps, that it is a model of its own then, and what can't be cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from QEfficient import hub
from QEfficient.compress.pruning.depth import cut_layers
from QEfficient.compress.pruning.groups import find_groups
from QEfficient.compress.pruning.surgery import cut
from QEfficient.errors import OptionError, UsageError
from QEfficient.source.checkpoint import Checkpoint
from QEfficient.source.identity import tensors_digest
from tests.compress.pruning import BY_NAME, FAMILIES, cut_model
from tests.sweep.build import build
from tests.tiny_models import batch, tiny

WIDTHS = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
COUNT = {"distilbert": "n_layers", "t5": "num_layers"}


def model(model_type: str, layers: int) -> Any:
    return tiny(model_type, **{COUNT.get(model_type, "num_hidden_layers"): layers})


def made(kind: str, **arguments: Any) -> Any:
    """A model with random weights, biases too."""
    found = getattr(transformers, kind)
    torch.manual_seed(0)
    module = found(found.config_class(**arguments)).eval()
    for parameter in module.parameters():
        parameter.data.normal_(0, 0.2)
    return module


def states(module: Any) -> torch.Tensor:
    rows = {name: tensor for name, tensor in batch(3, 9).items() if name != "token_type_ids"}
    with torch.inference_mode():
        out: torch.Tensor = module(**rows)[0]
    return out


@pytest.mark.parametrize(
    ("layers", "kept"),
    [(1, (5,)), (2, (2, 5)), (3, (1, 3, 5)), (4, (0, 2, 3, 5)), (6, (0, 1, 2, 3, 4, 5)), ([0, 4], (0, 4))],
)
def test_layers_are_evenly_spread_or_those_that_are_named(layers: Any, kept: tuple[int, ...]) -> None:
    teacher = model("bert", 6)
    student, found = cut_layers(teacher, layers)
    assert found == kept
    for place, number in enumerate(kept):
        own, theirs = student.encoder.layer[place].state_dict(), teacher.encoder.layer[number].state_dict()
        assert all(torch.equal(own[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "mpnet", "distilbert", "electra", "t5"])
def test_a_student_is_what_is_read_back_and_its_teacher_is_as_before(model_type: str, tmp_path: Any) -> None:
    teacher = model(model_type, 4)
    before, told = tensors_digest(teacher), teacher.config.to_dict()
    student, kept = cut_layers(teacher, 2)
    assert (tensors_digest(teacher), teacher.config.to_dict()) == (before, told)
    assert student.config.num_hidden_layers == 2
    assert kept == ((0, 3) if model_type == "t5" else (1, 3))  # of T5 the first layer alone knows the distances
    student.save_pretrained(tmp_path)
    back = type(student).from_pretrained(tmp_path).eval()
    assert torch.equal(states(back), states(student))
    student.get_input_embeddings().weight.data.zero_()
    assert tensors_digest(teacher) == before  # nothing is shared


def test_what_a_config_says_layer_by_layer_is_cut_too() -> None:
    windows = made("LongformerModel", **WIDTHS, num_hidden_layers=4, attention_window=[4, 4, 8, 8])
    student, _ = cut_layers(windows, 2)
    assert student.config.attention_window == [4, 8]
    kinds = made(
        "ModernBertModel", **WIDTHS, num_hidden_layers=6, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    student, kept = cut_layers(kinds, 3)
    assert kept == (0, 2, 5)  # the first has no norm before its attention
    assert student.config.layer_types == [kinds.config.layer_types[number] for number in kept]
    again = type(student)(student.config).eval()
    again.load_state_dict(student.state_dict())
    assert torch.equal(states(again), states(student))


def test_layers_of_a_decoder_keep_their_numbers_in_order() -> None:
    teacher = made("Qwen3Model", **WIDTHS, num_hidden_layers=4, num_key_value_heads=2, head_dim=8)
    student, _ = cut_layers(teacher, [1, 3])
    assert [layer.self_attn.layer_idx for layer in student.layers] == [0, 1]


@pytest.mark.parametrize("layers", [0, 5, -1, [4], [-1], [], [1.5], True, "2", [0, "a"]])
def test_layers_that_are_not_there_are_refused(layers: Any) -> None:
    with pytest.raises(OptionError, match="layers"):
        cut_layers(model("bert", 4), layers)


@pytest.mark.parametrize("layers", [[3, 1], [1, 1]])
def test_layers_out_of_order_are_refused(layers: Any) -> None:
    with pytest.raises(OptionError, match="ascending"):
        cut_layers(model("bert", 4), layers)


def test_layers_that_share_weights_are_refused() -> None:
    with pytest.raises(UsageError, match="no list of 4 blocks(?s:.)*pass student="):
        cut_layers(model("albert", 4), 2)


def test_a_module_that_is_in_two_places_is_refused() -> None:
    teacher = model("bert", 4)
    teacher.encoder.layer[1] = teacher.encoder.layer[0]
    with pytest.raises(UsageError, match="not clear which"):
        cut_layers(teacher, 2)


def test_an_encoder_with_a_decoder_is_refused() -> None:
    widths = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    teacher = made("BartModel", vocab_size=97, d_model=32, encoder_layers=3, decoder_layers=3, **widths)
    with pytest.raises(UsageError, match="2 lists of layers"):
        cut_layers(teacher, 2)


def test_a_layer_that_would_do_something_else_in_its_place_is_refused() -> None:
    with pytest.raises(UsageError, match="relative_attention_bias"):
        cut_layers(model("t5", 4), [1, 3])
    teacher = model("bert", 4)
    teacher.encoder.layer[3].attention.self.scaling = 7.0
    with pytest.raises(UsageError, match="layer 3 is not what layer 1"):
        cut_layers(teacher, [1, 3])


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_with_widths_of_their_own_keep_them(family: str, tmp_path: Path) -> None:
    teacher = cut_model(family)
    before = teacher.config.to_dict()
    student, kept = cut_layers(teacher, [0, 2])
    said = teacher.config.qefficient["widths"]
    assert kept == (0, 2) and student.config.qefficient == {"widths": {"0": said["0"], "1": said["2"]}}
    assert teacher.config.to_dict() == before
    student.save_pretrained(tmp_path)  # type: ignore[operator]
    back = Checkpoint(hub.resolve(tmp_path), "AutoModel").module()
    assert type(back) is type(student) and tensors_digest(back) == tensors_digest(student)
    last, _ = cut_layers(student, [1])
    assert last.config.qefficient == {"widths": {"0": said["2"]}}  # type: ignore[union-attr]


def test_layers_are_numbered_through_several_lists() -> None:
    """CANINE has a layer before and one behind the list of layers that is cut."""
    teacher = build(BY_NAME["canine"])
    groups = [one for one in find_groups(teacher) if one.kind == "feed_forward"]
    student, _ = cut_layers(cut(teacher, {one.output: range(9 - one.layer) for one in groups}), [1])
    assert student.config.qefficient["widths"] == {  # type: ignore[union-attr, index]
        "0": {"feed_forward": 9}, "1": {"feed_forward": 7}, "2": {"feed_forward": 6},
    }  # fmt: skip
