"""What the vendor's client does and this one must not: one test for each item of the contract's list, §1.8, in order.

Of the parts that are not built here (a sampler on the card, drafting, Whisper) the refusal is tested.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from QEfficient import QEFFAutoModelForCausalLM, QEFFAutoModelForSpeechSeq2Seq
from QEfficient.errors import InputError, NotYetSupportedError, QEfficientError, UsageError, VerificationError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from tests.generation.decoder_repos import byte_tokenizer
from tests.generation.writers import CTX, ROWS, SLOTS, compiled

pytestmark = pytest.mark.slow

PROMPTS = ["A cup of tea.", "x", "Rain, rain and more rain fell on the hills, all day.", "ünïcödé ☃", "Why?"]
NEW = 10
Writes = Callable[..., list[int]]


@pytest.fixture(scope="module")
def repo(repo_of: Callable[[str], Path]) -> Path:
    return repo_of("llama")


@pytest.fixture(scope="module")
def both(repo: Path, tiny_home: Path) -> Iterator[dict[str, QEFFAutoModelForCausalLM]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tiny_home))
        made = {form: compiled(repo, slots=form == "slots", prefill_seq_len=7) for form in ("slots", "plain")}
        yield made
        for model in made.values():
            model.close()


@pytest.fixture(params=["slots", "plain"])
def model(request: pytest.FixtureRequest, both: dict[str, QEFFAutoModelForCausalLM]) -> QEFFAutoModelForCausalLM:
    return both[request.param]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture(scope="module")
def theirs(repo: Path, tokenizer: Any) -> Writes:
    """transformers' new tokens behind one prompt."""
    reference: Any = transformers.AutoModelForCausalLM.from_pretrained(repo)

    def write(prompt: str, **keywords: Any) -> list[int]:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        out = reference.generate(ids, attention_mask=torch.ones_like(ids), **{"max_new_tokens": NEW, **keywords})
        return list(out[0, ids.shape[1] :].tolist())

    return write


def rows(record: Any) -> list[list[int]]:
    """Ids of each prompt, whichever the form."""
    ids = record.generated_ids
    return [row.tolist() for batch in (ids if isinstance(ids, list) else [ids]) for row in batch]


def test_1_no_prompt_is_repeated_or_dropped(model: Any, tokenizer: Any, theirs: Writes) -> None:
    for count in (1, ROWS, SLOTS, len(PROMPTS)):  # fewer than there are rows, as many, and no multiple of them
        found = model.generate(tokenizer, PROMPTS[:count], generation_len=NEW, stream=False, eos_token_id=[])
        assert rows(found) == [theirs(prompt, eos_token_id=-1) for prompt in PROMPTS[:count]]


def test_2_nothing_behind_an_end_token_is_kept_while_others_go_on(model: Any, tokenizer: Any, theirs: Writes) -> None:
    end = theirs(PROMPTS[0])[3]
    wanted = [theirs(prompt, eos_token_id=[end]) for prompt in PROMPTS]
    assert len(wanted[0]) <= 4 < max(map(len, wanted))
    found = model.generate(tokenizer, PROMPTS, generation_len=NEW, stream=False, eos_token_id=[end], pad_token_id=7)
    assert rows(found) == [ids + [7] * (NEW - len(ids)) for ids in wanted]
    flat = found.generated_texts if isinstance(found.generated_texts[0], str) else sum(found.generated_texts, [])
    assert flat == [tokenizer.decode(ids, skip_special_tokens=True) for ids in wanted]


def test_3_every_end_token_and_stop_string_counts_from_the_first_token_on(
    model: Any, tokenizer: Any, theirs: Writes
) -> None:
    first, other = theirs(PROMPTS[0])[0], theirs(PROMPTS[2])[1]
    for ends in ([first, other], [other, first, 256]):
        found = model.generate(
            tokenizer, PROMPTS, generation_len=NEW, stream=False, eos_token_id=ends, pad_token_id=256
        )
        assert rows(found)[0] == [first] + [256] * (NEW - 1)
        assert rows(found)[2][2:] == [256] * (NEW - 2)
    texts = {prompt: tokenizer.decode(theirs(prompt), skip_special_tokens=True) for prompt in PROMPTS}
    prompt, stop = next((p, letter) for p, text in texts.items() for letter in text[2:] if letter.isascii())
    found = "".join(model.stream(prompt, max_new_tokens=NEW, stop_strings=[stop]))
    assert found == texts[prompt].split(stop)[0]
    assert model._need_loaded().generation_config["eos_token_id"] == 256  # the repo's own, for who names none


def test_4_no_position_is_past_the_cache_and_each_prompt_has_its_own_room(model: Any, tokenizer: Any) -> None:
    room = model._need_loaded().facts.room
    assert room == CTX - (not model._need_loaded().facts.continuous)
    found = model.generate(tokenizer, PROMPTS, stream=False, eos_token_id=[], pad_token_id=258)
    lengths = [len(prompt.encode()) for prompt in PROMPTS]
    written = [len(row) - row[::-1].index(next(x for x in row[::-1] if x != 258)) for row in rows(found)]
    assert written == [room - length for length in lengths]
    with pytest.raises(InputError, match=f"{room - lengths[2]} new ones"):
        model.generate(tokenizer, PROMPTS, generation_len=room - lengths[2] + 1, stream=False)


def test_5_the_first_token_is_that_behind_a_prompt_s_own_end(model: Any, tokenizer: Any, theirs: Writes) -> None:
    """Prompts of one chunk beside those of eight."""
    found = model.generate(tokenizer, PROMPTS, generation_len=1, stream=False, eos_token_id=[])
    assert rows(found) == [theirs(prompt, max_new_tokens=1) for prompt in PROMPTS]


def test_6_a_prompt_that_does_not_fit_is_named_with_both_lengths(model: Any, tokenizer: Any) -> None:
    room = model._need_loaded().facts.room
    before = model._need_loaded().engine().counts().prefilled
    for keywords in ({}, {"generation_len": 4}):
        with pytest.raises(InputError, match=rf"150(?s:.*){room}"):
            model.generate(tokenizer, [*PROMPTS, "a" * 150], stream=False, **keywords)
    assert model._need_loaded().engine().counts().prefilled == before


def test_7_the_caller_s_tokenizer_stays_as_it_is(model: Any) -> None:
    mine = byte_tokenizer()
    mine.padding_side, mine.pad_token = "left", None
    before = mine.backend_tokenizer.to_str(), dict(mine.special_tokens_map)
    model.generate(mine, PROMPTS, generation_len=2, stream=False)
    assert (mine.backend_tokenizer.to_str(), dict(mine.special_tokens_map)) == before
    assert (mine.padding_side, mine.pad_token) == ("left", None)


def test_8_chat_templates_sampling_and_streams_that_print_nothing(
    model: Any, tokenizer: Any, theirs: Writes, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [{"role": "user", "content": "tea?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    wanted = tokenizer.decode(theirs(text), skip_special_tokens=True)
    assert model.chat(messages, max_new_tokens=NEW) == wanted
    assert "".join(model.stream(messages, max_new_tokens=NEW)) == wanted
    drawn = {tuple(model.generate([[65]], max_new_tokens=NEW, do_sample=True, seed=n)[0].tolist()) for n in range(4)}
    assert len(drawn) > 1
    assert not capsys.readouterr().out


def test_9_a_sequence_that_has_ended_is_not_decoded_on(model: Any, tokenizer: Any, theirs: Writes) -> None:
    end = theirs(PROMPTS[0])[3]
    engine = model._need_loaded().engine()
    before = engine.counts().decoded
    model.generate(tokenizer, PROMPTS, generation_len=NEW, stream=False, eos_token_id=[end])
    lengths = [len(theirs(prompt, eos_token_id=[end])) for prompt in PROMPTS]
    assert len(set(lengths)) > 1
    # a prompt whose beginning a slot still holds may need its last token only, which is a step like any other
    assert 0 <= engine.counts().decoded - before - sum(length - 1 for length in lengths) <= len(PROMPTS)


def test_10_draws_differ_from_step_to_step_and_the_card_s_sampler_is_refused(both: Any, repo: Path) -> None:
    out = both["slots"].generate([[65]], max_new_tokens=40, do_sample=True, temperature=1e6, top_k=0, seed=1)
    assert len(set(out[0, 1:].tolist())) > 20  # one number for all steps would choose one token for ever
    with pytest.raises(NotYetSupportedError, match="include_sampler"):
        QEFFAutoModelForCausalLM.from_pretrained(repo, qaic_config={"include_sampler": True})
    with pytest.raises(UsageError, match="include_sampler can't be had"):
        both["slots"].generate(prompts="a", include_sampler=True)


def test_11_drafting_is_refused(both: Any, repo: Path) -> None:
    for name in ("is_tlm", "assistant_model"):
        with pytest.raises(UsageError, match=f"{name} can't be had"):
            both["slots"].generate([[65]], **{name: True})
    with pytest.raises(NotYetSupportedError, match="speculative_model_type"):
        QEFFAutoModelForCausalLM.from_pretrained(repo, qaic_config={"speculative_model_type": "turbo"})


def test_12_what_is_compared_is_the_program_that_was_compiled(
    repo_of: Callable[[str], Path], tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma's too: where the program's own steps are wrong, the tokens that are compared are wrong."""
    monkeypatch.setenv("QEFF_HOME", str(tiny_home))
    model = QEFFAutoModelForCausalLM.from_pretrained(repo_of("gemma3_text"), continuous_batching=True)
    model.compile(ctx_len=CTX, prefill_seq_len=7, full_batch_size=SLOTS)
    tokens = model.device_report()["verify"]["tokens"]
    assert tokens["first"] is None and tokens["compared"] > 50
    right = SessionDecoder.decode

    def one_place_early(self: SessionDecoder, rows: Sequence[Chunk]) -> np.ndarray:
        return right(self, [dataclasses.replace(row, start=row.start - 1) for row in rows])

    monkeypatch.setattr(SessionDecoder, "decode", one_place_early)
    with pytest.raises(VerificationError):
        model.compile(ctx_len=64, prefill_seq_len=7, full_batch_size=SLOTS)


def test_13_whisper_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QEfficientError, match="QEFFAutoModelForSpeechSeq2Seq"):
        QEFFAutoModelForSpeechSeq2Seq.from_pretrained(tmp_path)
