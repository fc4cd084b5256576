"""Modules that were changed by hand, or only look like transformers' own: HuggingFace's numbers, or a clear error."""

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from transformers import BertModel, BigBirdConfig, BigBirdModel, RobertaConfig, RobertaModel
from transformers.modeling_outputs import BaseModelOutput

from QEfficient import QEFFAutoModel
from QEfficient.errors import ExportError, NumericsError, QEfficientError
from tests.tiny_models import batch, tiny

pytestmark = pytest.mark.own_exports


class OwnMask(BertModel):
    """Makes its mask itself from the caller's 0 and 1, as models with code of their own do under BERT's name."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, **_: Any) -> BaseModelOutput:
        rows, length = attention_mask.shape
        added = (1.0 - attention_mask.view(rows, 1, 1, length).float()) * -10000.0
        states = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        for layer in self.encoder.layer:
            states = layer(states, added)
        return BaseModelOutput(last_hidden_state=states)


class Adapter(nn.Module):
    """A layer with a low-rank addition, as LoRA makes it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.down, self.up = inner, nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        return self.inner(states) + self.up(self.down(states))


def of_another_class(model: Any) -> None:
    model.__class__ = OwnMask


def adapted(model: Any) -> None:
    attention = model.encoder.layer[0].attention.self
    attention.query = Adapter(attention.query)


def hooked(model: Any) -> None:
    model.encoder.layer[0].attention.self.key.register_forward_hook(lambda part, args, out: out * 2)


def normalised(model: Any) -> None:
    parametrizations.weight_norm(model.encoder.layer[0].attention.self.value)


def pruned(model: Any) -> None:
    prune.random_unstructured(model.encoder.layer[0].output.dense, "weight", 0.5)


@pytest.mark.filterwarnings("ignore:The tensor attribute .* was assigned during export")  # pruning does that
@pytest.mark.parametrize("change", [of_another_class, adapted, hooked, normalised, pruned])
def test_what_was_changed_by_hand_is_exported_as_it_is(change: Any) -> None:
    module = tiny("bert")
    change(module)
    inputs = batch(3, 7, padding="right")
    model = QEFFAutoModel(module)
    model.compile(seq_len=16)
    with torch.no_grad():
        expected = module(**inputs).last_hidden_state.numpy()
    real = inputs["attention_mask"].numpy() > 0
    np.testing.assert_allclose(model.generate(inputs)["output"][real], expected[real], rtol=1e-4, atol=1e-5)


def on_meta(model: Any) -> None:
    model.to("meta")


def with_a_lock(model: Any) -> None:
    model.lock = threading.Lock()


@pytest.mark.parametrize(("change", "named"), [(on_meta, "meta device"), (with_a_lock, "can't be copied")])
def test_what_has_no_graph_is_refused_by_name(change: Any, named: str) -> None:
    module = tiny("bert")
    change(module)
    with pytest.raises(QEfficientError, match=named):
        QEFFAutoModel(module).compile(seq_len=16)


class NewBird(BigBirdConfig):
    """Stands for a type that is new to transformers: no file says where its sparse attention begins."""

    model_type = "new-bird"


class NewRoberta(RobertaConfig):
    """Likewise: no file says that it counts positions from pad id + 1."""

    model_type = "new-roberta"


def test_a_model_that_works_otherwise_on_long_rows_is_refused() -> None:
    """BigBird attends to everything in short rows and to blocks in long ones; the graph holds the first way only."""
    config = NewBird(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=160,
        block_size=4,
        num_random_blocks=1,
        initializer_range=0.3,
    )
    with pytest.raises(NumericsError, match="does not give the numbers of HuggingFace"):
        QEFFAutoModel(BigBirdModel(config).eval()).compile(seq_len=160)


def test_a_model_that_fails_on_rows_within_its_limit_is_refused() -> None:
    """Its config's 42 positions take 40 tokens."""
    config = NewRoberta(
        vocab_size=97,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=42,
        pad_token_id=1,
    )
    with pytest.raises(ExportError, match=r"fails on input_ids \[1, 42\]"):
        QEFFAutoModel(RobertaModel(config).eval()).compile(seq_len=16)
