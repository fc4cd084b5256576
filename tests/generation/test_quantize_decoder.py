"""``quantize`` and ``compile(compute=…)`` of a decoder: measured, reported, kept or refused."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient import program as programs
from QEfficient.build.rounding_texts import CUT, MOST, rounding_texts
from QEfficient.cache import Cache
from QEfficient.compress.prose import PROSE
from QEfficient.errors import NotYetSupportedError, OptionError, UsageError, VerificationError
from QEfficient.numerics.sentences import SENTENCES
from tests.generation.decoder_repos import VOCAB, byte_tokenizer, decoder_repo
from tests.generation.tiny_decoders import tiny_decoder
from tests.unit.test_torch_free import BLOCK

pytestmark = pytest.mark.slow

SIZES = {"ctx_len": 128, "prefill_seq_len": 16, "full_batch_size": 3}
LOOSE = {"min_label_agreement": 0.0, "max_perplexity_change": 100.0}
PROMPT = "A cup of tea, and a long walk in the rain."


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("QEFF_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[QEFFAutoModelForCausalLM]:
    made = QEFFAutoModelForCausalLM.from_pretrained(decoder_repo(tmp_path_factory.mktemp("repo") / "tiny"))
    made.compile(**SIZES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def small(model: QEFFAutoModelForCausalLM) -> Iterator[QEFFAutoModelForCausalLM]:
    made = model.quantize("int4_weights", limits=LOOSE, **SIZES)
    yield made
    made.close()


def asked_for(model: QEFFAutoModelForCausalLM, **given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of ``compile``, those that are left out with them."""
    bound = inspect.signature(type(model).compile).bind(model, **SIZES, **given)
    bound.apply_defaults()
    further = bound.arguments.pop("compiler_options")
    return {name: value for name, value in bound.arguments.items() if name != "self"}, further


def test_it_is_another_object_and_writes_text(model, small):
    before = model.program_path
    assert small is not model and small.program_path != before
    assert model.device_report()["compute"] == "fp32" and small.device_report()["compute"] == "int4_weights"
    found = small.generate(prompts=[PROMPT, PROMPT[:9]], stream=False, max_new_tokens=6).generated_texts
    single = small.generate(prompts=[PROMPT[:9]], stream=False, max_new_tokens=6).generated_texts
    drafted = small.generate(prompts=[PROMPT], stream=False, max_new_tokens=6, prompt_lookup_num_tokens=3)
    assert [found[1], found[0]] == [single[0], drafted.generated_texts[0]]
    beams = small.generate(prompts=[PROMPT], stream=False, max_new_tokens=4, num_beams=2).generated_texts
    assert len(beams) == 1


def test_the_report_stands_everywhere(small):
    (step,) = small.compressed
    report = small.device_report()
    manifest = programs.load(Path(small.program_path)).manifest
    made = step["made"]
    assert step["told"] == "quantized to int4_weights" and report["compressed"] == [step]
    assert made["bytes_before"] > 2 * made["bytes_after"]
    assert made["tokens"]["compared"] >= made["tokens"]["equal"] >= made["tokens"]["equal_before_first"]
    assert made["label_agreement"] == report["verify"]["label_agreement"]
    assert made["perplexity"]["change"] == pytest.approx(
        made["perplexity"]["program"] / made["perplexity"]["huggingface"] - 1
    )
    assert report["weights"]["bits"] == 4 and manifest.weights == report["weights"]
    assert manifest.verify["perplexity"] == made["perplexity"]


def test_a_form_below_its_limits_is_refused_and_nothing_is_kept(model):
    before = {entry.path for entry in Cache().entries() if entry.stage == "program"}
    for make in (model.quantize, lambda to, **more: model.compile(compute=to, **more)):
        with pytest.raises(VerificationError, match="label agreement"):
            make("int4_weights_int8", limits={"min_label_agreement": 1.0}, **SIZES)
        with pytest.raises(VerificationError, match="perplexity change"):
            make("int4_weights_int8", limits={**LOOSE, "max_perplexity_change": -0.9}, **SIZES)
    assert {entry.path for entry in Cache().entries() if entry.stage == "program"} == before
    assert model.device_report()["compute"] == "fp32"


def test_weights_that_4_bits_ruin_are_refused_by_the_usual_limits(tmp_path):
    """The same model in other numbers: a group's largest weight is 400 times the others, and reads a small input."""
    hard = tiny_decoder("llama", vocab_size=VOCAB, max_position_embeddings=256)
    with torch.no_grad():
        for layer in hard.model.layers:
            attention, dense = layer.self_attn, layer.mlp
            for norm, readers in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (dense.gate_proj, dense.up_proj)),
            ):
                norm.weight[0] /= 400
                for product in readers:
                    product.weight[:, 0] *= 400
    hard.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(VerificationError, match="label agreement"):
        QEFFAutoModelForCausalLM.from_pretrained(tmp_path).quantize("int4_weights", **SIZES)


def test_4_bits_are_rounded_for_texts(model, small):
    """The built-in ones, and the caller's before them; a model without a tokenizer has the nearest codes."""
    built_in = small.device_report()["weights"]["rounding"]
    assert (built_in["method"], built_in["own_texts"]) == ("gptq", 0) and 1000 < built_in["tokens"] <= 4096
    made = model.quantize("int4_weights", texts=[PROMPT], limits=LOOSE, **SIZES)
    own = made.device_report()["weights"]["rounding"]
    assert own["own_texts"] == 1 and own["digest"] != built_in["digest"] and own["matrices"] == built_in["matrices"]
    assert made.program_path != small.program_path
    made.close()
    module = QEFFAutoModelForCausalLM(tiny_decoder("llama", vocab_size=VOCAB, max_position_embeddings=256))
    module.compile(compute="int4_weights", limits=LOOSE, **SIZES)
    assert "rounding" not in module.device_report()["weights"]
    module.close()


def test_the_texts_are_chats_and_plain(model):
    recipe, request = model._asked(*asked_for(model, texts=[PROMPT, "Hello."]))
    found = rounding_texts(recipe, request.text, request.texts)
    assert found is not None and found.own == 2
    plain = list(PROMPT.encode())
    assert [len(row) for row in found.rows[:2]] == [len(plain) + 3, len(plain)]
    assert max(map(len, found.rows)) <= CUT
    assert not {one[:40] for one in PROSE} & {one[:40] for one in SENTENCES}
    many = rounding_texts(recipe, request.text, [f"{PROMPT} {number}" for number in range(200)])
    assert many is not None and many.tokens == MOST and 0 < many.own < 200


def test_8_bits_pass_by_the_usual_limits(model):
    made = model.quantize("int8_weights", texts=[PROMPT], **SIZES)
    assert made.compressed[0]["data"]["texts"]["rows"] == 1
    made.compile(**SIZES)  # once more, as it is
    assert made.device_report()["compute"] == "int8_weights" and made.compressed[0]["step"] == "quantize"
    with pytest.raises(OptionError, match="compute="):
        made.compile(compute="fp32", **SIZES)
    with pytest.raises(UsageError, match="quantized already"):
        made.quantize("int4_weights", **SIZES)
    made.close()


def test_openvino_runs_it_too(model):
    made = model.quantize("int4_weights", backend="openvino", limits=LOOSE, **SIZES)
    assert made.device_report()["backend"] == "openvino"
    assert len(made.generate(prompts=[PROMPT], stream=False, max_new_tokens=4).generated_texts) == 1
    made.close()


def test_forms_that_are_none(model):
    with pytest.raises(UsageError, match="int4_weights"):
        model.quantize("int5_weights")
    with pytest.raises(NotYetSupportedError):
        model.compile(compute="int8", **SIZES)
    with pytest.raises(OptionError, match="mxfp6"):
        model.compile(compute="int4_weights", backend="emulator", **SIZES)


def test_a_saved_program_needs_no_torch(small, tmp_path):
    small.save_pretrained(tmp_path / "saved")
    code = (
        f"{BLOCK}\nfrom QEfficient import QEFFAutoModelForCausalLM\n"
        f"model = QEFFAutoModelForCausalLM.from_pretrained({str(tmp_path / 'saved')!r})\n"
        f"print(model.generate(prompts=[{PROMPT!r}], stream=False, max_new_tokens=4).generated_texts[0])\n"
        "print(model.compressed[0]['told'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("quantized to int4_weights")
