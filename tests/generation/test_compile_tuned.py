"""A tiny decoder is fine-tuned, compiled, and its program gives torch's logits and tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.errors import UsageError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from tests.generation.tiny_decoders import own_logits
from tests.train import language_models as small

pytestmark = pytest.mark.slow

HOW = {"batch_size": 3, "learning_rate": 1e-2, "warmup": 0, "save_steps": 1000}


@pytest.mark.parametrize("lora", [False, True])
def test_what_was_learnt_is_what_is_compiled(lora: bool, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    small.model("llama", initializer_range=0.1).save_pretrained(folder)
    small.tokenizer().save_pretrained(folder)
    model = QEFFAutoModelForCausalLM.from_pretrained(folder)
    rows = small.completions()
    adapters = {"lora": {"r": 8}} if lora else {}
    trained = model.fine_tune(rows, rows, epochs=2 if lora else 12, output_dir=tmp_path / "out", **HOW, **adapters)
    assert model.trained is not None and "repo" in model.trained["from"]
    model.compile(ctx_len=32, full_batch_size=2)
    assert model.device_report()["verify"]["tokens"]["equal"] > 0
    assert model.device_report()["trained"] == json.loads(json.dumps(model.trained))
    loaded, reader = model._need_loaded(), small.tokenizer()
    decoder = SessionDecoder(loaded.backend.open(loaded.program), loaded.facts)
    module = trained.module.eval()
    for question in small.QUESTIONS[:4]:
        ids = reader(question)["input_ids"]
        ours = decoder.prefill([Chunk(1, ids, 0)])[0]
        assert np.abs(ours - own_logits(module, ids)[-1]).max() < 1e-3
        for _ in range(5):  # behind its end too
            ids = [*ids, int(ours.argmax())]
            assert ids[-1] == own_logits(module, ids[:-1])[-1].argmax()
            ours = decoder.decode([Chunk(1, ids[-1:], len(ids) - 1)])[0, -1]
    decoder.close()
    for question in small.QUESTIONS:
        rows = reader(question, return_tensors="pt")
        ends = {"eos_token_id": reader.eos_token_id, "pad_token_id": reader.pad_token_id}
        theirs = module.generate(rows["input_ids"], max_new_tokens=8, do_sample=False, **ends)
        assert model.generate(rows["input_ids"], max_new_tokens=8).tolist() == theirs.tolist()
    assert loaded.generation_config["eos_token_id"] == reader.eos_token_id


def test_a_module_in_memory_needs_its_tokenizer(tmp_path: Path) -> None:
    model = QEFFAutoModelForCausalLM(small.model("llama"))
    with pytest.raises(UsageError, match="tokenizer"):
        model.fine_tune(["one two three"])
