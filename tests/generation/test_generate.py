"""``generate``, ``chat``, ``stream`` and ``perplexity`` of a compiled tiny decoder beside transformers' own."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.errors import InputError, UsageError
from QEfficient.generation.results import CloudAI100ExecInfo, GenerationOutput
from tests.generation.decoder_repos import byte_tokenizer, decoder_repo
from tests.unit.test_torch_free import BLOCK

pytestmark = pytest.mark.slow

PROMPTS = ["A cup of tea.", "x", "Rain, rain and more rain fell on the hills, all day.", "ünïcödé ☃"]
END, CTX = 256, 128


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder_repo(tmp_path_factory.mktemp("repo") / "tiny")


@pytest.fixture(scope="module")
def model(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QEFFAutoModelForCausalLM]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        made = QEFFAutoModelForCausalLM.from_pretrained(repo)
        made.compile(ctx_len=CTX, prefill_seq_len=16, full_batch_size=3, verify="off")
        yield made
        made.close()


@pytest.fixture(scope="module")
def reference(repo: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(repo)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


def alone(reference: Any, tokenizer: Any, prompt: str, **keywords: Any) -> list[int]:
    """HuggingFace's new tokens of one prompt."""
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        found = reference.generate(ids, attention_mask=torch.ones_like(ids), **keywords)
    return list(found[0, ids.shape[1] :].tolist())


# ---------------------------------------------------------------------------------------------- the vendor's form


def test_prompts_of_any_number_and_length_are_written_as_each_alone(
    model: Any, reference: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [alone(reference, tokenizer, prompt, max_new_tokens=12) for prompt in PROMPTS]
    found = model.generate(tokenizer, PROMPTS, generation_len=12)
    assert isinstance(found, CloudAI100ExecInfo)
    assert found.batch_size == 1
    assert found.generated_ids.shape == (len(PROMPTS), 12)
    assert [row.tolist()[: len(ids)] for row, ids in zip(found.generated_ids, wanted, strict=True)] == wanted
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in wanted]
    assert found.generated_texts == texts
    shown = "".join(f"\nPrompt : {p}\nCompletion :{t}\n" for p, t in zip(PROMPTS, texts, strict=True))
    assert capsys.readouterr().out == shown
    perf = found.perf_metrics
    assert 0 < perf.prefill_time < perf.total_time
    assert perf.decode_perf > 0 < perf.total_perf
    assert "tokens/sec" in repr(found)


def test_the_program_s_own_tokenizer_serves_too(model: Any, tokenizer: Any, capsys: Any) -> None:
    mine = model.generate(prompts=PROMPTS, generation_len=6, stream=False)
    assert not capsys.readouterr().out
    theirs = model.generate(tokenizer=tokenizer, prompts=PROMPTS, generation_len=6, stream=False)
    assert mine.generated_texts == theirs.generated_texts
    fast = model.generate(tokenizer.backend_tokenizer, PROMPTS, generation_len=6, stream=False)
    assert fast.generated_texts == mine.generated_texts


def test_a_text_ends_at_an_end_token_in_any_company(model: Any, reference: Any, tokenizer: Any) -> None:
    """§1.8.2 and 3: every end token counts, the first token of an answer too, and nothing behind it comes back."""
    [first, *_] = alone(reference, tokenizer, PROMPTS[0], max_new_tokens=8)
    third = alone(reference, tokenizer, PROMPTS[2], max_new_tokens=8)[2]
    ends = [first, third, END]
    wanted = [alone(reference, tokenizer, prompt, max_new_tokens=8, eos_token_id=ends) for prompt in PROMPTS]
    assert len(wanted[0]) == 1
    assert len(wanted[2]) <= 3
    found = model.generate(tokenizer, PROMPTS, generation_len=8, stream=False, eos_token_id=ends, pad_token_id=7)
    for row, ids in zip(found.generated_ids.tolist(), wanted, strict=True):
        assert row == ids + [7] * (8 - len(ids))


def test_the_caller_s_tokenizer_stays_as_it_is(model: Any) -> None:
    """§1.8.7."""
    mine = byte_tokenizer()
    mine.padding_side, mine.pad_token = "left", None
    before = mine.backend_tokenizer.to_str(), dict(mine.special_tokens_map)
    model.generate(mine, PROMPTS, generation_len=2, stream=False)
    model.chat([{"role": "user", "content": "a"}], tokenizer=mine, max_new_tokens=2)
    assert (mine.backend_tokenizer.to_str(), dict(mine.special_tokens_map)) == before
    assert (mine.padding_side, mine.pad_token) == ("left", None)


def test_left_out_the_length_is_all_that_fits(model: Any, tokenizer: Any) -> None:
    """§1.8.4: no position is past the cache, and each prompt has its own room."""
    found = model.generate(tokenizer, PROMPTS, stream=False, eos_token_id=[])
    for prompt, row in zip(PROMPTS, found.generated_ids, strict=True):
        assert found.generated_ids.shape[1] == CTX - min(len(p.encode()) for p in PROMPTS)
        assert len(prompt.encode()) + len(row) >= CTX


def test_iterations_and_automation(model: Any, tokenizer: Any, capsys: Any) -> None:
    found = model.generate(tokenizer, "x", generation_len=3, stream=False, automation=True, iteration=2)
    out = capsys.readouterr().out
    assert out.startswith(f"input= ['x']\noutput= {found.generated_texts}\nAverage Prefill")


# ---------------------------------------------------------------------------------------------- HuggingFace's form


SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 10},
    "the default length": {},
    "max_length": {"max_length": 40},
    "penalties": {"max_new_tokens": 10, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    "beams": {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 2},
    "scores": {"max_new_tokens": 5, "output_scores": True, "output_logits": True, "return_dict_in_generate": True},
    "scores of beams": {
        "max_new_tokens": 5,
        "num_beams": 2,
        "output_scores": True,
        "return_dict_in_generate": True,
    },
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", SETTINGS)
def test_ids_as_transformers_gives_them(model: Any, reference: Any, tokenizer: Any, name: str, side: str) -> None:
    settings = SETTINGS[name]
    texts = ["A cup of tea.", "Rain, rain and more"]
    rows = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers' own of a default length
        wanted = reference.generate(**rows, **settings)
    given = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
    found = model.generate(given["input_ids"], attention_mask=given["attention_mask"], **settings)
    width = rows["input_ids"].shape[1]
    if "return_dict_in_generate" not in settings:
        assert torch.equal(found[:, width:], wanted[:, width:])
        return
    assert isinstance(found, type(wanted))
    assert list(found.keys()) == [name for name in wanted.keys() if name != "cache"]
    assert torch.equal(found.sequences[:, width:], wanted.sequences[:, width:])
    for ours, theirs in zip(found.scores, wanted.scores, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
    if "num_beams" in settings:
        torch.testing.assert_close(found.sequences_scores, wanted.sequences_scores, atol=1e-4, rtol=0)
        assert torch.equal(found.beam_indices, wanted.beam_indices.long())


@pytest.mark.parametrize("kind", [np.array, list])
def test_arrays_in_arrays_out(model: Any, tokenizer: Any, kind: Any) -> None:
    ids = [tokenizer("A cup")["input_ids"]]
    found = model.generate(kind(ids), max_new_tokens=3)
    assert isinstance(found, np.ndarray)
    assert found.shape == (1, 8)
    record = model.generate(input_ids=kind(ids), max_new_tokens=3, return_dict_in_generate=True, output_scores=True)
    assert isinstance(record, GenerationOutput)
    assert np.array_equal(record["sequences"], found)
    assert [score.shape for score in record.scores] == [(1, 259)] * 3


def test_several_drawn_sequences_and_their_seeds(model: Any, tokenizer: Any) -> None:
    ids = tokenizer(["A cup", "Rain,"], return_tensors="pt")
    draw = {"do_sample": True, "max_new_tokens": 8, "temperature": 1.5}
    many = model.generate(ids, num_return_sequences=3, seed=7, **draw)
    assert many.shape[0] == 6
    assert len({tuple(row) for row in many[:3].tolist()}) > 1
    one = model.generate(ids["input_ids"][1:], seed=7, **draw)
    assert torch.equal(many[3], one[0])
    assert not torch.equal(model.generate(ids, seed=8, **draw), many[::3])


def test_callers_own_objects(model: Any, reference: Any, tokenizer: Any) -> None:
    ids = tokenizer("A cup of tea", return_tensors="pt")
    settings = {
        "max_new_tokens": 12,
        "logits_processor": transformers.LogitsProcessorList(
            [transformers.SuppressTokensLogitsProcessor([65, 66, 97])]
        ),
        "stopping_criteria": transformers.StoppingCriteriaList([transformers.MaxLengthCriteria(18)]),
        "prefix_allowed_tokens_fn": lambda row, so_far: list(range(60, 100)),
    }
    wanted = reference.generate(**ids, **settings)
    assert torch.equal(model.generate(**ids, **settings), wanted)
    config = transformers.GenerationConfig(max_new_tokens=4, repetition_penalty=1.3, eos_token_id=END, pad_token_id=END)
    assert torch.equal(model.generate(ids, config), reference.generate(**ids, generation_config=config))


def test_stop_strings(model: Any, reference: Any, tokenizer: Any) -> None:
    new = alone(reference, tokenizer, PROMPTS[0], max_new_tokens=20)
    stop = next(text for place in range(4, 18) if (text := tokenizer.decode(new[place : place + 2])).isascii())
    ids = tokenizer(PROMPTS[0], return_tensors="pt")
    wanted = reference.generate(**ids, max_new_tokens=20, stop_strings=[stop], tokenizer=tokenizer)
    assert torch.equal(model.generate(**ids, max_new_tokens=20, stop_strings=stop, tokenizer=tokenizer), wanted)
    assert torch.equal(model.generate(**ids, max_new_tokens=20, stop_strings=stop), wanted)
    found = model.generate(tokenizer, PROMPTS[:1], generation_len=20, stop_strings=[stop], stream=False)
    assert stop not in found.generated_texts[0]


class Heard:
    def __init__(self) -> None:
        self.put_in: list[list[int]] = []
        self.ended = 0

    def put(self, value: Any) -> None:
        assert isinstance(value, torch.Tensor)
        self.put_in.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"do_sample": True, "seed": 3, "temperature": 0.5},
        {"do_sample": True, "seed": 4, "num_return_sequences": 2, "repetition_penalty": 1.1},
        {"no_repeat_ngram_size": 4, "logit_bias": {97: 3.0}},
        {"regex": "(abc){12}"},
    ],
)
def test_prompt_look_up_changes_no_token(model: Any, tokenizer: Any, how: dict[str, Any]) -> None:
    prompts = [(prompt * 4)[:40] for prompt in PROMPTS]
    wanted = model.generate(tokenizer, prompts, generation_len=40, stream=False, **how)
    found = model.generate(tokenizer, prompts, generation_len=40, stream=False, prompt_lookup_num_tokens=5, **how)
    assert np.array_equal(found.generated_ids, wanted.generated_ids)
    assert found.perf_metrics.accepted <= found.perf_metrics.drafted
    assert (wanted.perf_metrics.drafted, wanted.perf_metrics.accepted) == (0, 0)
    if "regex" in how:
        assert found.perf_metrics.accepted > 20


def test_prompt_look_up_of_ids_and_streams(model: Any, reference: Any, tokenizer: Any) -> None:
    prompt = "ab, ab, ab, " * 3
    wanted = alone(reference, tokenizer, prompt, max_new_tokens=24, prompt_lookup_num_tokens=4)
    ids = tokenizer(prompt)["input_ids"]
    found = model.generate([ids], max_new_tokens=24, prompt_lookup_num_tokens=4, max_matching_ngram_size=3)
    assert found[0].tolist() == [*ids, *wanted]
    without = model.stream(prompt, max_new_tokens=24, logprobs=2)
    texts = ["".join(without)]
    with_it = model.stream(prompt, max_new_tokens=24, logprobs=2, prompt_lookup_num_tokens=4)
    texts.append("".join(with_it))
    assert texts[0] == texts[1] and with_it.ids == without.ids
    np.testing.assert_allclose(with_it.logprobs, without.logprobs, atol=1e-4)


def test_streamers(model: Any, reference: Any, tokenizer: Any, capsys: Any) -> None:
    ids = tokenizer(PROMPTS[0], return_tensors="pt")
    ours, theirs = Heard(), Heard()
    model.generate(**ids, max_new_tokens=5, streamer=ours)
    reference.generate(**ids, max_new_tokens=5, streamer=theirs)
    assert (ours.put_in, ours.ended) == (theirs.put_in, theirs.ended)
    streamer = transformers.TextIteratorStreamer(tokenizer, skip_prompt=True)
    thread = threading.Thread(target=model.generate, kwargs={**ids, "max_new_tokens": 5, "streamer": streamer})
    thread.start()
    pieces = "".join(streamer)
    thread.join()
    assert pieces == tokenizer.decode(alone(reference, tokenizer, PROMPTS[0], max_new_tokens=5))
    assert not capsys.readouterr().out


def test_the_torch_model_runs_where_it_is_asked_for(model: Any, reference: Any, tokenizer: Any) -> None:
    ids = tokenizer(PROMPTS[0], return_tensors="pt")
    found = model.generate(**ids, max_new_tokens=5, runtime_ai100=False)
    assert torch.equal(found, reference.generate(**ids, max_new_tokens=5))
    record = model.generate(tokenizer, PROMPTS, generation_len=5, runtime_ai100=False)
    again = model.generate(tokenizer, PROMPTS, generation_len=5, stream=False)
    assert record.generated_texts == again.generated_texts


# ---------------------------------------------------------------------------------------------- chat and stream


def rendered(tokenizer: Any, messages: Any, **keywords: Any) -> str:
    found: str = tokenizer.apply_chat_template(messages, tokenize=False, **keywords)
    return found


def test_chat_is_the_template_and_then_the_answer(model: Any, reference: Any, tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "What is tea?"}]
    ids = alone(reference, tokenizer, rendered(tokenizer, messages, add_generation_prompt=True), max_new_tokens=9)
    wanted = tokenizer.decode(ids, skip_special_tokens=True)
    assert model.chat(messages, max_new_tokens=9) == wanted
    assert model.chat(messages, max_new_tokens=9, tokenizer=tokenizer) == wanted
    assert model.chat([messages, messages], max_new_tokens=9) == [wanted, wanted]
    assert "".join(model.stream(messages, max_new_tokens=9)) == wanted


def test_a_last_message_goes_on(model: Any, reference: Any, tokenizer: Any) -> None:
    messages = [{"role": "user", "content": "What is tea?"}, {"role": "assistant", "content": "It is a"}]
    text = rendered(tokenizer, messages, continue_final_message=True)
    wanted = tokenizer.decode(alone(reference, tokenizer, text, max_new_tokens=5), skip_special_tokens=True)
    assert model.chat(messages, continue_final_message=True, max_new_tokens=5) == wanted


def test_a_stream_is_the_whole_text(model: Any, tokenizer: Any) -> None:
    whole = model.generate(tokenizer, PROMPTS[:1], generation_len=30, stream=False)
    stream = model.stream(PROMPTS[0], max_new_tokens=30, logprobs=2)
    pieces = list(stream)
    assert "".join(pieces) == stream.text == whole.generated_texts[0]
    assert all(pieces)
    assert stream.ids == tuple(whole.generated_ids[0].tolist())
    assert stream.reason == "length"
    assert len(stream.logprobs) == len(stream.top_logprobs) == 30
    assert all(own == max(best.values()) for own, best in zip(stream.logprobs, stream.top_logprobs, strict=True))
    assert list(stream) == []


def test_several_streams_at_once_and_async(model: Any) -> None:
    wanted = ["".join(model.stream(prompt, max_new_tokens=12)) for prompt in PROMPTS]

    async def read(prompt: str) -> str:
        return "".join([piece async for piece in model.stream(prompt, max_new_tokens=12)])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(read, PROMPTS))

    assert asyncio.run(all_of_them()) == wanted
    streams = [model.stream(prompt, max_new_tokens=12) for prompt in PROMPTS]
    assert ["".join(stream) for stream in reversed(streams)] == wanted[::-1]


def test_a_stream_that_is_left_ends(model: Any) -> None:
    with model.stream(PROMPTS[0]) as stream:
        next(stream)
    assert stream.reason == "cancelled"
    left = model.stream(PROMPTS[0])
    ticket = left._ticket
    next(left)
    del left
    assert ticket.reason == "cancelled"
    stream.close()
    assert model.generate(prompts="x", generation_len=2, stream=False).generated_ids.shape == (1, 2)


# ---------------------------------------------------------------------------------------------- pipelines


def test_a_pipeline_takes_it(model: Any, reference: Any, tokenizer: Any) -> None:
    ours = transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)
    theirs = transformers.pipeline("text-generation", model=reference, tokenizer=tokenizer)
    for asked in ("A cup of", ["x", "Rain"], [{"role": "user", "content": "tea?"}]):
        how = {"max_new_tokens": 6, "do_sample": False}
        assert ours(asked, **how) == theirs(asked, **how)


# ---------------------------------------------------------------------------------------------- perplexity


def test_perplexity_is_torch_s(model: Any, reference: Any, tokenizer: Any) -> None:
    texts = [*PROMPTS[::2], "A long text. " * 20]
    loss, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        for window in ids.split(CTX, dim=1):
            with torch.no_grad():
                mean = float(reference(window, labels=window).loss)
            loss += mean * (window.shape[1] - 1)
            count += window.shape[1] - 1
    found = model.perplexity(texts)
    assert sum(found.tokens) == count
    assert float(found) == pytest.approx(math.exp(loss / count), rel=1e-4)


# ---------------------------------------------------------------------------------------------- without torch


def test_a_saved_program_does_all_of_it_without_torch(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    saved = model.save_pretrained(tmp_path / "saved")
    messages = [{"role": "user", "content": "What is tea?"}]
    script = f"""{BLOCK}
import json, asyncio
from QEfficient import QEFFAutoModelForCausalLM
model = QEFFAutoModelForCausalLM.from_pretrained(sys.argv[1])
found = model.generate(prompts={PROMPTS!r}, generation_len=5, stream=False)
same = lambda ids, scores: scores
ids = model.generate([[65, 66]], max_new_tokens=4, do_sample=True, seed=3, logits_processor=[same])
beams = model.generate([[65, 66]], max_new_tokens=4, num_beams=3)
chat, stream = model.chat({messages!r}, max_new_tokens=5), model.stream("A", max_new_tokens=5, stop_strings=["zzz"])
print(json.dumps([found.generated_texts, ids.tolist(), beams.tolist(), chat, "".join(stream),
                  float(model.perplexity("A cup."))]))
"""
    done = subprocess.run([sys.executable, "-c", script, saved], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = [
        model.generate(prompts=PROMPTS, generation_len=5, stream=False).generated_texts,
        model.generate([[65, 66]], max_new_tokens=4, do_sample=True, seed=3).tolist(),
        model.generate([[65, 66]], max_new_tokens=4, num_beams=3).tolist(),
        model.chat(messages, max_new_tokens=5),
        "".join(model.stream("A", max_new_tokens=5)),
        float(model.perplexity("A cup.")),
    ]
    assert json.loads(done.stdout) == wanted


# ---------------------------------------------------------------------------------------------- what is refused

IDS, CHAT = [[65, 66]], [{"role": "user", "content": "a"}]
REFUSED: dict[str, tuple[Any, str]] = {
    "neither prompts nor ids": (lambda m: m.generate(), "neither prompts nor ids"),
    "both": (lambda m: m.generate(IDS, prompts="a"), "prompts and ids"),
    "text first": (lambda m: m.generate("a"), "pass texts as prompts"),
    "no prompt": (lambda m: m.generate(prompts=[]), "no prompt"),
    "an empty prompt": (lambda m: m.generate(prompts=[""]), "Row 0 has no token"),
    "no row": (lambda m: m.generate(np.zeros((0, 2), int)), "no row"),
    "an unknown keyword": (lambda m: m.generate(IDS, temprature=1.0), "Did you mean 'temperature'"),
    "a number out of range": (lambda m: m.generate(IDS, top_p=2.0), "top_p can't have this value"),
    "two lengths": (lambda m: m.generate(IDS, generation_len=2, max_new_tokens=2), "two names for one number"),
    "no new token": (lambda m: m.generate(IDS, max_new_tokens=0), "from 1 on"),
    "a length that does not fit": (lambda m: m.generate(IDS, max_new_tokens=127), "126 new ones"),
    "a generation_len that does not fit": (lambda m: m.generate(prompts="ab", generation_len=127), "126 new ones"),
    "a long prompt": (lambda m: m.generate(prompts="a" * 128), "128 together"),
    "a second long prompt": (lambda m: m.generate(prompts=["a", "a" * 200], generation_len=1), "128"),
    "a long conversation": (lambda m: m.chat([{"role": "user", "content": "a" * 200}]), "128 together"),
    "an id beyond the vocabulary": (lambda m: m.generate([[65, 259]]), "0 to 258"),
    "a negative id": (lambda m: m.generate([[65, -1]]), "Row 0 has an id"),
    "floats": (lambda m: m.generate([[65.0]]), "whole numbers"),
    "three dims": (lambda m: m.generate([[[65]]]), "3 dims"),
    "another mask": (lambda m: m.generate(IDS, attention_mask=[[1]]), "another shape"),
    "a mask of twos": (lambda m: m.generate(IDS, attention_mask=[[1, 2]]), "something else than 0 and 1"),
    "an empty mask": (lambda m: m.generate(IDS, attention_mask=[[0, 0]]), "Row 0 has no token"),
    "token types": (lambda m: m.generate(IDS, token_type_ids=[[0, 1]]), "token_type_ids"),
    "stream of ids": (lambda m: m.generate(IDS, stream=True), "stream belongs to prompts"),
    "streamer of prompts": (lambda m: m.generate(prompts="a", streamer=Heard()), "streamer belongs to ids"),
    "no streamer": (lambda m: m.generate(IDS, streamer=print), "streamer is none"),
    "a streamer of two rows": (lambda m: m.generate(IDS * 2, streamer=Heard()), "one sequence"),
    "a streamer of beams": (lambda m: m.generate(IDS, streamer=Heard(), num_beams=2), "one sequence"),
    "a named tokenizer": (lambda m: m.generate(prompts="a", tokenizer="gpt2"), "tokenizer is none"),
    "iteration": (lambda m: m.generate(prompts="a", iteration=0), "iteration"),
    "automation": (lambda m: m.generate(prompts="a", automation="yes"), "automation is no bool"),
    "write_io": (lambda m: m.generate(prompts="a", write_io=True), "write_io can't be had"),
    "the card's sampler": (lambda m: m.generate(prompts="a", include_sampler=True), "include_sampler can't be had"),
    "its parameters": (lambda m: m.generate(prompts="a", sampling_params={"top_ks": 1}), "sampling_params can't"),
    "return_pdfs": (lambda m: m.generate(prompts="a", return_pdfs=True), "output_scores=True"),
    "an assistant": (lambda m: m.generate(IDS, assistant_model=object()), "assistant_model can't be had"),
    "embeddings": (lambda m: m.generate(IDS, inputs_embeds=[[0.0]]), "inputs_embeds can't be had"),
    "past": (lambda m: m.generate(IDS, past_key_values=[1]), "past_key_values can't be had"),
    "group beams": (lambda m: m.generate(IDS, num_beams=2, num_beam_groups=2), "num_beam_groups"),
    "contrastive": (lambda m: m.generate(IDS, penalty_alpha=0.6, top_k=4), "contrastive"),
    "constraints": (lambda m: m.generate(IDS, force_words_ids=[[1]], num_beams=2), "force_words_ids"),
    "dola": (lambda m: m.generate(IDS, dola_layers="high"), "DoLa"),
    "too many beams": (lambda m: m.generate(IDS, num_beams=4), "1 to 3"),
    "more answers than beams": (lambda m: m.generate(IDS, num_beams=2, num_return_sequences=3), "fewer beams"),
    "several greedy answers": (lambda m: m.generate(IDS, num_return_sequences=2), "Greedy search finds one"),
    "a processor's name": (lambda m: m.generate(IDS, logits_processor=["x"]), "can't be called"),
    "a processor of another shape": (
        lambda m: m.generate(IDS, logits_processor=lambda ids, scores: scores[:, :3]),
        "changed the shape",
    ),
    "a config's name": (lambda m: m.generate(IDS, generation_config="greedy"), "generation_config is no config"),
    "an empty stop string": (lambda m: m.generate(IDS, stop_strings=[""]), "stop_strings"),
    "an unknown token": (lambda m: m.generate(IDS, logit_bias={999: 1.0}), "logit_bias names tokens"),
    "two grammars": (lambda m: m.generate(IDS, regex="a", grammar="b"), "one grammar"),
    "two names of devices": (lambda m: m.generate(IDS, device_id=[0], device_ids=[0]), "two names"),
    "a chat of a string": (lambda m: m.chat("hello"), "messages is a string"),
    "a chat of nothing": (lambda m: m.chat([]), "messages is no list"),
    "a message without a role": (lambda m: m.chat([{"content": "a"}]), "Message 0 of messages has no role"),
    "a second conversation": (lambda m: m.chat([CHAT, [{}]]), r"Message 0 of messages\[1\] has no role"),
    "tools of no list": (lambda m: m.chat(CHAT, tools={"a": 1}), "tools is no list"),
    "template_kwargs": (lambda m: m.chat(CHAT, template_kwargs=3), "template_kwargs is no mapping"),
    "several answers to a chat": (
        lambda m: m.chat(CHAT, num_return_sequences=2, do_sample=True),
        "one answer to a conversation",
    ),
    "a streamer of a chat": (lambda m: m.chat(CHAT, streamer=Heard()), "streamer is of generate"),
    "a stream of many": (lambda m: m.stream(["a", "b"]), "one prompt or one conversation"),
    "a stream of beams": (lambda m: m.stream("a", num_beams=2), "A stream is one answer"),
    "perplexity of nothing": (lambda m: m.perplexity([]), "no text"),
    "perplexity of one token": (lambda m: m.perplexity(["abc", "a"]), "Text 1 has nothing to predict"),
    "perplexity of numbers": (lambda m: m.perplexity([1]), "Row 0 is not a string"),
    "a stride": (lambda m: m.perplexity("abc", stride=0), "stride is out of range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_runs(model: Any, name: str) -> None:
    call, says = REFUSED[name]
    engine = model._need_loaded().engine()
    before = engine.counts()
    with pytest.raises(UsageError, match=says) as caught:
        call(model)
    assert caught.value.do
    after = engine.counts()
    assert (after.prefilled, after.waiting, after.running) == (before.prefilled, 0, 0) or "shape" in name


def test_a_model_that_is_not_compiled(repo: Path) -> None:
    fresh = QEFFAutoModelForCausalLM.from_pretrained(repo)
    for call in (lambda: fresh.generate(prompts="a"), lambda: fresh.chat(CHAT), lambda: fresh.perplexity("abc")):
        with pytest.raises(UsageError, match="not compiled yet"):
            call()


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 40
    assert issubclass(InputError, UsageError)
