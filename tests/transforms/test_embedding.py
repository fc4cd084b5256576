"""Inputs from the model's own signature, the mask, and the module that is exported."""

import copy
import inspect

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2Model

from QEfficient.errors import ExportError
from QEfficient.pytorch_transforms.embedding import EmbeddingModule, additive_mask, text_inputs
from tests.tiny_models import batch, chain, head_of, tiny


@pytest.mark.parametrize(
    ("model_type", "changes", "types"),
    [
        ("bert", {}, True),
        ("bert", {"type_vocab_size": 1}, False),
        ("roberta", {}, False),
        ("roberta", {"type_vocab_size": 2}, True),
        ("mpnet", {}, False),
        ("distilbert", {}, False),
        ("electra", {}, True),
    ],
)
def test_inputs_are_those_of_the_model(model_type: str, changes: dict[str, int], types: bool) -> None:
    wanted = ("input_ids", "attention_mask", "token_type_ids")
    assert tuple(spec.name for spec in text_inputs(tiny(model_type, **changes))) == (wanted if types else wanted[:2])


def test_a_model_without_token_ids_is_refused() -> None:
    with pytest.raises(ExportError, match="does not take token ids"):
        text_inputs(nn.Linear(2, 2))


class Image(nn.Module):
    def forward(self, pixel_values: object, pixel_mask: object) -> None: ...


class Spectrogram(nn.Module):
    def forward(self, input_features: object, attention_mask: object) -> None: ...


class Clip(nn.Module):
    def forward(self, input_values: object) -> None: ...


class Series(nn.Module):
    def forward(self, past_values: object, past_time_features: object) -> None: ...


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (Image, "for images, or add a file that says which size its images have"),
        (Spectrogram, "for spectrograms, or add a file that says which size its spectrograms have"),
        (Clip, "for sound, or add a file that says how many samples make a frame"),
        (Series, "run it with transformers: only models of texts, images and sound are served"),
    ],
)
def test_the_advice_fits_what_the_model_takes(kind: type[nn.Module], advice: str) -> None:
    with pytest.raises(ExportError, match="does not take token ids") as caught:
        text_inputs(kind())
    assert advice in caught.value.do and "text encoder" not in str(caught.value)


def test_position_ids_are_never_asked_for() -> None:
    module = chain(tiny("bert"))
    assert list(inspect.signature(module.forward).parameters) == [*module.inputs, "pooling_mask"]
    assert module.inputs == ("input_ids", "attention_mask", "token_type_ids")


def test_a_copy_of_a_module_calls_its_own_parts() -> None:
    module = chain(tiny("bert"), "mean")
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for weight in twin.encoder.parameters():
            weight.zero_()
        ids = torch.arange(5, 11)[None]
        assert not twin(input_ids=ids).any() and module(input_ids=ids).all()


def test_the_mask_is_finite_and_exact_in_fp16() -> None:
    mask = additive_mask(torch.tensor([[1, 1, 0]]))
    assert mask.shape == (1, 1, 1, 3) and mask.flatten().tolist() == [0.0, 0.0, -30000.0]
    assert torch.equal(mask.half().float(), mask)
    assert torch.isfinite(mask.half() - 35000.0).all()
    assert (torch.tensor([500.0, -500.0, 1000.0]).half() + mask.half()).softmax(-1).flatten().tolist() == [1, 0, 0]


def test_a_decoder_keeps_its_causal_mask() -> None:
    model = tiny("bert", is_decoder=True)
    inputs = batch(2, 6)
    with torch.no_grad():
        expected = model(**inputs, use_cache=False).last_hidden_state
        got = chain(model)(**inputs)
        bidirectional = tiny("bert")(**inputs).last_hidden_state
    real = inputs["attention_mask"] > 0
    torch.testing.assert_close(got[real], expected[real], rtol=1e-4, atol=1e-5)
    assert (bidirectional[real] - expected[real]).abs().max() > 0.1


def test_token_types_reach_the_model_and_are_zeros_when_left_out() -> None:
    module = chain(tiny("bert"), "mean")
    inputs = batch(2, 6)
    with torch.no_grad():
        given = module(**inputs)
        zeros = module(**{**inputs, "token_type_ids": torch.zeros_like(inputs["input_ids"])})
        left_out = module(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert torch.equal(left_out, zeros) and not torch.allclose(given, zeros, atol=1e-2)


def test_a_model_without_a_table_of_types_is_given_none() -> None:
    """GPT-2 takes types too, but looks them up among its words: zeros would add the first word to every token."""
    config = GPT2Config(vocab_size=97, n_embd=32, n_layer=1, n_head=4, n_positions=24, bos_token_id=1, eos_token_id=1)
    model = GPT2Model(config).eval()
    inputs = {name: value for name, value in batch(2, 6).items() if name != "token_type_ids"}
    with torch.no_grad():
        torch.testing.assert_close(chain(model)(**inputs), model(**inputs).last_hidden_state)


def test_an_encoder_that_gives_a_tuple() -> None:
    class Plain(nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, None]:
            return input_ids.unsqueeze(-1).float(), None

    module = EmbeddingModule(Plain(), head_of("max"), ("input_ids", "attention_mask"))
    assert module(input_ids=torch.tensor([[1, 5, 9]]), attention_mask=torch.tensor([[1, 1, 0]])).tolist() == [[5.0]]
