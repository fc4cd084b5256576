"""Whether a rewrite of attention pays on onnxruntime, at the size of all-MiniLM-L6-v2.

    python benchmarks/rewrites.py [--rounds 15]

Forms of the same model, random weights: ``hf`` (transformers' own block), ``folded`` (the scale in the query's
weights: what the library uses), ``split`` and ``stacked`` (a fused query-key-value projection, taken apart in two
ways). Then, as folded: ``gelu`` (in the exporter's order, which onnxruntime does not fuse), ``skip`` (with
onnxruntime's fusion of a sum and a LayerNormalization, which the library switches off) and ``joined`` (with the
attention operator and the moved biases that the onnxruntime back end runs). ``pooler`` and ``first`` end in BERT's
pooler in place of a mean, without and with the pass that computes the last layer for its first token only.

The sessions take turns, two threads each; what is printed is the median, over the rounds, of hf's time divided by the
form's time in the same round: above 1 is faster than hf.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import torch
import transformers
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertSelfAttention

from QEfficient.backends.onnxruntime_session import SLOW_FUSIONS
from QEfficient.export.exporter import traced
from QEfficient.onnx_transforms import DEFAULT, PassFactory, finish
from QEfficient.onnx_transforms.joined import write_joined
from QEfficient.onnx_transforms.known_gelu import KnownGelu
from QEfficient.onnx_transforms.only_first_token import OnlyFirstToken
from QEfficient.pytorch_transforms.bert import FoldedSelfAttention, attend
from QEfficient.pytorch_transforms.blocks import Block, Swap, WeightRule, exportable
from QEfficient.pytorch_transforms.embedding import EmbeddingModule, text_inputs
from QEfficient.pytorch_transforms.head import HeadModule
from QEfficient.source.head import parse_head

SHAPES = [(1, 16), (1, 128), (8, 32), (8, 128), (32, 64), (8, 256)]
THREADS = 2


class Split(Block):
    """A fused projection whose result is cut into three along the last dim."""

    weights: ClassVar[Mapping[str, WeightRule]] = {
        f"qkv.{leaf}": WeightRule(
            (f"query.{leaf}", f"key.{leaf}", f"value.{leaf}"), lambda tensors, old: torch.cat(list(tensors))
        )
        for leaf in ("weight", "bias")
    }

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.heads, self.width, self.scale = old.num_attention_heads, old.all_head_size, old.scaling
        self.qkv = nn.Linear(self.width, 3 * self.width)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, **_: Any) -> tuple[Tensor, None]:
        """As BERT's block."""
        query, key, value = self.qkv(hidden_states).split(self.width, dim=-1)
        return attend(query * self.scale, key, value, self.heads, attention_mask, None), None


class Stacked(Split):
    """A fused projection whose result is seen as five dims, (3, batch, heads, length, width)."""

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, **_: Any) -> tuple[Tensor, None]:
        """As BERT's block."""
        batch, length = hidden_states.shape[:2]
        query, key, value = self.qkv(hidden_states).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        logits = torch.matmul(query * self.scale, key.transpose(2, 3)) + attention_mask
        mixed = torch.matmul(logits.softmax(dim=-1), value)
        return mixed.transpose(1, 2).reshape(batch, length, -1), None


@dataclass(frozen=True)
class Form:
    """A block, and what is left out of what the library does to a graph."""

    block: type[Block] | None
    passes: tuple[PassFactory, ...] = DEFAULT
    fusions_off: tuple[str, ...] = SLOW_FUSIONS
    joins: bool = False
    pooling: str = "mean"


def without(left_out: PassFactory) -> tuple[PassFactory, ...]:
    """The library's passes but one."""
    return tuple(make for make in DEFAULT if make is not left_out)


FORMS = {
    "hf": Form(None),
    "folded": Form(FoldedSelfAttention),
    "split": Form(Split),
    "stacked": Form(Stacked),
    "gelu": Form(FoldedSelfAttention, passes=without(KnownGelu)),
    "skip": Form(FoldedSelfAttention, fusions_off=()),
    "joined": Form(FoldedSelfAttention, joins=True),
    "pooler": Form(FoldedSelfAttention, passes=without(OnlyFirstToken), pooling="pooler_output"),
    "first": Form(FoldedSelfAttention, pooling="pooler_output"),
}


def sessions(folder: Path) -> dict[str, onnxruntime.InferenceSession]:
    """One session a form, all with the same weights."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    config._attn_implementation = "eager"
    model = transformers.BertModel(config)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.spin_duration_us", "200")  # as the back end has it
    made = {}
    for name, form in FORMS.items():
        twin, _ = exportable(model, [Swap(BertSelfAttention, form.block)] if form.block else [])
        specs = text_inputs(twin)
        head = HeadModule(parse_head(form.pooling).steps)
        module = EmbeddingModule(twin, head, [spec.name for spec in specs], "additive").eval()
        with traced(module, inputs=specs) as exported:
            graph = finish(exported, folder / name, passes=form.passes)
        path = graph.path.with_name("joined.onnx")
        if form.joins and not write_joined(graph.path, path):
            raise RuntimeError("There was no attention to join.")
        made[name] = onnxruntime.InferenceSession(
            path if form.joins else graph.path,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(form.fusions_off),
        )
    return made


def main() -> None:
    """Prints one line a shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        made = sessions(Path(folder))
        print("batch x length   hf ms  " + "  ".join(f"{name:>8}" for name in FORMS if name != "hf"))
        for rows, length in SHAPES:
            inputs = {name: np.ones((rows, length), np.int64) for name in ("input_ids", "attention_mask")}
            inputs |= {"token_type_ids": np.zeros((rows, length), np.int64)}
            inputs["input_ids"] = random.integers(999, 30000, (rows, length))
            times: dict[str, list[float]] = {name: [] for name in FORMS}
            for round_ in range(rounds + 2):  # the first two warm up
                for name, session in made.items():
                    start = time.perf_counter()
                    session.run(None, inputs)
                    if round_ > 1:
                        times[name].append(time.perf_counter() - start)
            ratios = {
                name: statistics.median(hf / own for hf, own in zip(times["hf"], times[name], strict=True))
                for name in FORMS
            }
            print(
                f"{rows:5d} x {length:<6d} {statistics.median(times['hf']) * 1e3:8.1f}  "
                + "  ".join(f"{ratios[name]:8.3f}" for name in FORMS if name != "hf")
            )


if __name__ == "__main__":
    main()
