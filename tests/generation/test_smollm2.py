"""The real model: its tokens are transformers' own. `make same-tokens` asks for more: all prompts, orders, the card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.same_tokens import END, TIE, VOCABULARY, prompts, shuffled, written
from benchmarks.same_tokens import Reference as Given
from QEfficient import QEFFAutoModelForCausalLM
from QEfficient import program as programs
from QEfficient.backends import registry
from QEfficient.generation.engine import Engine
from QEfficient.generation.schedule import EngineSettings
from QEfficient.generation.session_decoder import SessionDecoder
from tests import smollm2

GROUPS = 25
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QEFFAutoModelForCausalLM]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("smollm2")))
        model = QEFFAutoModelForCausalLM.from_pretrained(smollm2.folder())
        model.compile()
        yield model
        model.close()


@pytest.fixture(scope="module")
def theirs() -> Any:
    return AutoModelForCausalLM.from_pretrained(smollm2.folder(), dtype=torch.float32).eval()


def rows(numbers: range) -> list[Given]:
    every = prompts(200)
    return [Given(tuple(every[number]), (), ()) for number in numbers]


def ties(model: Any, prompt: Sequence[int], new: Sequence[int]) -> int:
    """Tokens at which transformers' two best logits are a tie and ours is the other one; what follows is its own text.

    transformers is given prompt and answer in one run: greedy, it would choose at each step what is best there.
    """
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *new[:-1]]])).logits[0, len(prompt) - 1 :]
    for step, (token, row) in enumerate(zip(new, logits, strict=True)):
        best = row.max().item()
        if int(row.argmax()) != token:
            assert best - row[token].item() < TIE, f"step {step}: {token} for {int(row.argmax())}"
            return 1
    assert len(new) == smollm2.NEW_TOKENS or new[-1] == END
    assert END not in new[:-1]
    return 0


def test_onnxruntime_has_one_operator_for_each_attention_and_norm(ours: QEFFAutoModelForCausalLM) -> None:
    graph = onnx.load(ours._need_loaded().program.joined_path, load_external_data=False).graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["GroupQueryAttention"] == 30 and kinds["SimplifiedLayerNormalization"] == 61
    assert not kinds.keys() & {"ScatterND", "GatherND", "ScatterElements", "Softmax"}
    assert kinds["Slice"] == 2 and len(graph.node) < 500  # both tables are cut when the graph is loaded


@pytest.mark.sweep
@pytest.mark.parametrize("group", range(GROUPS))
def test_tokens_are_those_of_transformers(group: int, ours: QEFFAutoModelForCausalLM, theirs: Any) -> None:
    given = rows(range(group, 200, GROUPS))
    found = [ties(theirs, one.prompt, new) for one, new in zip(given, written(ours, given), strict=True)]
    assert sum(found) <= 1  # of 200 prompts in all, less than 1 % part at a tie


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(6))
def test_any_order_chunk_and_arrival_gives_the_same_tokens(seed: int, ours: QEFFAutoModelForCausalLM) -> None:
    program = programs.load(ours.device_report()["program"])
    facts = program.manifest.decoder
    assert facts is not None and facts.prefill_len >= 100
    given, rng = rows(range(seed, 200, 13))[:16], np.random.default_rng(seed)
    alone = [written(ours, [one])[0] for one in given]
    decoder = SessionDecoder(registry.get("onnxruntime").open(program), facts)
    with Engine(decoder, EngineSettings(chunk=(7, 32, 100)[seed % 3])) as engine:
        assert shuffled(engine, given, rng) == alone
    assert max(max(one) for one in alone) < VOCABULARY
