"""``generate``, ``chat`` and ``stream`` through the fake card: both forms, devices, failures, cancels and grammars."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.errors import DeviceError, QEfficientError
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
from tests.generation.decoder_repos import byte_tokenizer
from tests.generation.tiny_decoders import own_logits
from tests.generation.writers import ROWS, SLOTS, compiled
from tests.sdk import FakeSdk, make_sdk

pytestmark = pytest.mark.slow

PROMPTS = ["A cup of tea.", "x", "Rain, rain and more rain fell on the hills, all day.", "ünïcödé ☃", "Why?"]
NEW = 8
CHAT = [{"role": "user", "content": "tea?"}]


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> FakeSdk:
    return make_sdk(tmp_path_factory.mktemp("card") / "sdk", devices=2)


@pytest.fixture(autouse=True)
def sdk(card: FakeSdk, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSdk]:
    monkeypatch.setenv("QEFF_QAIC_SDK", str(card.root))
    yield card
    card.set(status={}, throw={})


@pytest.fixture(scope="module")
def both(
    card: FakeSdk, repo_of: Callable[[str], Path], tiny_home: Path
) -> Iterator[dict[str, QEFFAutoModelForCausalLM]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tiny_home))
        patch.setenv("QEFF_QAIC_SDK", str(card.root))
        how = {"backend": "qaic", "num_cores": 4, "prefill_seq_len": 7}
        made = {form: compiled(repo_of("llama"), slots=form == "slots", **how) for form in ("slots", "plain")}
        yield made
        for model in made.values():
            model.close()


@pytest.fixture(params=["slots", "plain"])
def model(request: pytest.FixtureRequest, both: dict[str, QEFFAutoModelForCausalLM]) -> QEFFAutoModelForCausalLM:
    return both[request.param]


@pytest.fixture(scope="module")
def reference(repo_of: Callable[[str], Path]) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(repo_of("llama"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


def written(model: Any, tokenizer: Any, **keywords: Any) -> list[list[int]]:
    found = model.generate(tokenizer, PROMPTS, generation_len=NEW, stream=False, eos_token_id=[], **keywords)
    ids = found.generated_ids
    return [row.tolist() for batch in (ids if isinstance(ids, list) else [ids]) for row in batch]


def test_both_shapes_of_the_record(both: Any, reference: Any, tokenizer: Any) -> None:
    """More prompts than rows: the plain form's run in waves, of which the last is not full."""
    how = {"generation_len": NEW, "stream": False, "eos_token_id": []}
    slots, plain = (both[form].generate(tokenizer, PROMPTS, **how) for form in ("slots", "plain"))
    assert (slots.batch_size, plain.batch_size) == (1, ROWS)
    assert isinstance(slots.generated_ids, np.ndarray) and slots.generated_ids.shape == (5, NEW)
    assert [ids.shape for ids in plain.generated_ids] == [(2, NEW), (2, NEW), (1, NEW)]
    assert [len(texts) for texts in plain.generated_texts] == [2, 2, 1]
    for ids, texts in (
        (slots.generated_ids, slots.generated_texts),
        (np.concatenate(plain.generated_ids), sum(plain.generated_texts, [])),
    ):
        assert texts == [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
        for prompt, row in zip(PROMPTS, ids.tolist(), strict=True):
            asked = tokenizer(prompt)["input_ids"]
            logits = own_logits(reference, [*asked, *row])[len(asked) - 1 : -1]
            chosen = np.take_along_axis(logits, np.array(row)[:, None], axis=-1)[:, 0]
            assert (logits.max(-1) - chosen).max() < 5e-2  # each is transformers' best, as far as fp16 can tell


def test_devices_are_those_that_are_named(model: Any, tokenizer: Any) -> None:
    wanted = written(model, tokenizer)
    for name, device in (("device_ids", 1), ("device_id", 0), ("device_id", [1])):
        assert written(model, tokenizer, **{name: [device] if name == "device_ids" else device}) == wanted
        number = device[0] if isinstance(device, list) else device
        assert model.device_report()["session"]["devices"] == [[number]]
    with pytest.raises(QEfficientError, match="7"):
        written(model, tokenizer, device_ids=[7])
    assert written(model, tokenizer) == wanted


def test_async_streams_beside_each_other(model: Any) -> None:
    wanted = ["".join(model.stream(prompt, max_new_tokens=NEW)) for prompt in PROMPTS]

    async def read(prompt: str) -> str:
        return "".join([piece async for piece in model.stream(prompt, max_new_tokens=NEW)])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(read, PROMPTS))

    assert asyncio.run(all_of_them()) == wanted


def test_a_stream_that_is_left_in_the_middle_changes_nobody_s_tokens(model: Any, tokenizer: Any) -> None:
    wanted = written(model, tokenizer)
    whole = "".join(model.stream(PROMPTS[2], max_new_tokens=NEW))
    staying = model.stream(PROMPTS[2], max_new_tokens=NEW)
    begun = next(staying)
    with model.stream(PROMPTS[0], max_new_tokens=NEW) as leaving:
        next(leaving)
    assert leaving.reason == "cancelled"
    assert begun + "".join(staying) == whole
    assert written(model, tokenizer) == wanted


# ------------------------------------------------------------------------------------------------ failures


class FailsOnce:
    """Lets one decode step fail, as the fake runtime fails: its state is lost for good."""

    def __init__(self, sdk: FakeSdk, patch: pytest.MonkeyPatch, at: int, lost: str) -> None:
        self.calls, right = 0, SessionDecoder.decode

        def decode(decoder: SessionDecoder, rows: Sequence[Chunk]) -> np.ndarray:
            self.calls += 1
            if self.calls != at:
                return right(decoder, rows)
            sdk.set(status={"waitForCompletion": "QS_TIMEDOUT"}, lost_slots=lost)
            try:
                return right(decoder, rows)
            finally:
                sdk.set(status={})

        patch.setattr(SessionDecoder, "decode", decode)


@pytest.mark.parametrize("lost", ["named", "all"])
def test_after_a_failure_in_the_middle_the_tokens_are_the_same(
    model: Any, tokenizer: Any, sdk: FakeSdk, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = written(model, tokenizer)
    engine = model._need_loaded().engine()
    before = engine.counts()
    failing = FailsOnce(sdk, monkeypatch, 4, lost)
    assert written(model, tokenizer) == wanted
    after = engine.counts()
    assert failing.calls > 4 and after.failures == before.failures + 1
    assert after.prefilled > before.prefilled


def test_a_device_that_goes_on_failing_is_an_error_and_never_silence(model: Any, tokenizer: Any, sdk: FakeSdk) -> None:
    wanted = written(model, tokenizer)
    stream = model.stream(PROMPTS[2], max_new_tokens=NEW)
    begun = next(stream)
    sdk.set(status={"waitForCompletion": "QS_DEV_ERROR"})
    with pytest.raises(DeviceError, match="QS_DEV_ERROR"):
        list(stream)
    assert stream.text == begun and stream.reason is None
    with pytest.raises(DeviceError, match="QS_DEV_ERROR"):
        written(model, tokenizer)
    with pytest.raises(DeviceError, match="QS_DEV_ERROR"):
        model.chat(CHAT, max_new_tokens=NEW)
    sdk.set(status={})
    assert written(model, tokenizer) == wanted


# ------------------------------------------------------------------------------------------------ grammars

SCHEMA = {
    "type": "object",
    "properties": {"cups": {"enum": [1, 2, None]}},
    "required": ["cups"],
    "additionalProperties": False,
}
DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]"
LARK = 'start: greeting " " name "!"\ngreeting: "hello" | "bye"\nname: /[A-Z][a-z]{1,8}/\n'


def _is_of_schema(text: str) -> bool:
    return json.loads(text) in ({"cups": 1}, {"cups": 2}, {"cups": None})


@pytest.mark.parametrize(
    ("keywords", "fits"),
    [
        ({"json_schema": SCHEMA}, _is_of_schema),
        ({"json_schema": json.dumps(SCHEMA)}, _is_of_schema),
        ({"regex": DATE}, re.compile(DATE).fullmatch),
        ({"grammar": LARK}, re.compile(r"(hello|bye) [A-Z][a-z]{1,8}!").fullmatch),
    ],
)
@pytest.mark.parametrize("draw", [{}, {"do_sample": True, "temperature": 2.0, "seed": 3}])
def test_answers_follow_a_grammar(
    model: Any, tokenizer: Any, keywords: dict[str, Any], fits: Callable[[str], Any], draw: dict[str, Any]
) -> None:
    """More prompts than there are slots, each with a grammar of its own state."""
    prompts = ["A", "x", "tea", "ü", "Why?"]
    assert len(prompts) > SLOTS
    blanks = tokenizer(" \n\r\t")["input_ids"]  # JSON may have them, and a random model would write all that it may
    draw = {**draw, "logit_bias": dict.fromkeys(blanks, -100.0)}
    record = model.generate(tokenizer, prompts, generation_len=80, stream=False, **keywords, **draw)
    texts = record.generated_texts
    for text in texts if isinstance(texts[0], str) else sum(texts, []):
        assert fits(text), text
    answer = model.chat(CHAT, max_new_tokens=80, **keywords, **draw)
    assert fits(answer), answer
    assert fits("".join(model.stream("A", max_new_tokens=80, **keywords, **draw)))
    ids = model.generate([tokenizer("A")["input_ids"]], max_new_tokens=80, **keywords, **draw)
    assert fits(tokenizer.decode(ids[0][1:], skip_special_tokens=True))
