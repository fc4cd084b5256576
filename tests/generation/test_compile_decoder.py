"""A decoder from its folder to a program: checked on text, found again, saved, opened without torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.build import decoder_reference
from QEfficient.build.decoder_sizes import HOST_DRAFT
from QEfficient.build.layer_caches import save_caches, with_layers
from QEfficient.errors import UsageError, VerificationError
from QEfficient.generation.decoder import Chunk, Decoder
from QEfficient.generation.session_decoder import SessionDecoder
from QEfficient.numerics import continuations
from QEfficient.numerics.continuations import STEPS, Continuation, compare, fitting, how_many
from QEfficient.numerics.verify import Limits
from QEfficient.records import DecoderFacts, LayerCache, OnnxModel
from QEfficient.text.chat import ChatTemplate
from tests.generation.decoder_repos import CHAT, VOCAB, byte_tokenizer, decoder_repo
from tests.generation.tiny_decoders import greedy, tiny_decoder
from tests.unit.test_torch_free import BLOCK

pytestmark = pytest.mark.slow

PROMPT = "A cup of tea, and a long walk in the rain."


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder_repo(tmp_path_factory.mktemp("repo") / "tiny")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def one_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))


@pytest.fixture(scope="module")
def model(repo: Path, home: Path) -> Iterator[QEFFAutoModelForCausalLM]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        made = QEFFAutoModelForCausalLM.from_pretrained(repo)
        made.compile(ctx_len=128, prefill_seq_len=16, full_batch_size=3)
        yield made
        made.close()


def tokens_of(decoder: Decoder, prompt: Sequence[int], count: int, slot: int = 0) -> list[int]:
    width, logits = decoder.facts.prefill_len, None
    for start in range(0, len(prompt), width):
        logits = decoder.prefill([Chunk(slot, prompt[start : start + width], start)])[0]
    assert logits is not None
    found = [int(logits.argmax())]
    while len(found) < count:
        place = len(prompt) + len(found) - 1
        found.append(int(decoder.decode([Chunk(slot, found[-1:], place)])[0, -1].argmax()))
    return found


def opened(model: Any) -> SessionDecoder:
    loaded = model._need_loaded()
    return SessionDecoder(loaded.backend.open(loaded.program), loaded.facts)


def test_the_program_writes_huggingface_s_tokens(model: QEFFAutoModelForCausalLM, repo: Path) -> None:
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(repo)
    prompt = byte_tokenizer()(PROMPT)["input_ids"]
    decoder = opened(model)
    try:
        assert tokens_of(decoder, prompt, 20, slot=2) == greedy(theirs, prompt, 20)
    finally:
        decoder.close()


def test_what_was_compared_stands_in_the_manifest(model: QEFFAutoModelForCausalLM) -> None:
    report = model.device_report()
    verified = report["verify"]
    assert verified["passed"] and verified["rows"] == 12
    assert verified["tokens"]["compared"] == 12 * STEPS == verified["tokens"]["equal"]
    assert report["decoder"]["ctx_len"] == 128 and report["decoder"]["cache_slots"] == 3
    heads, width, layers = 2, 8, 3
    assert report["cache_bytes"] == 4 * 2 * layers * (3 + 1) * heads * 128 * width  # fp32, keys and values, scratch
    model._need_loaded().engine()
    assert model.device_report()["cache_bytes"] == report["cache_bytes"]  # what the open session says of itself


def test_its_files_are_those_of_the_repo(model: QEFFAutoModelForCausalLM, repo: Path) -> None:
    import transformers

    folder = Path(str(model.program_path))
    assert json.loads((folder / "generation_config.json").read_text())["temperature"] == 0.7
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "Hello"}]
    theirs = transformers.AutoTokenizer.from_pretrained(repo)
    assert theirs.chat_template == CHAT
    assert reader.apply_chat_template(chat, tokenize=False) == theirs.apply_chat_template(chat, tokenize=False)
    assert (
        reader(PROMPT)["input_ids"]
        == model._need_loaded().tokenizer.encode([PROMPT]).rows.columns["input_ids"][0].tolist()
    )
    assert model._need_loaded().generation_config["eos_token_id"] == 256
    assert model.config.model_type == "llama" and model.can_generate()
    assert Path(str(model.onnx_path)).is_file() and model.qpc_path == str(folder)


def test_chats_are_rendered_as_transformers_class_says(tmp_path: Path) -> None:
    """Special tokens that the class adds, and templates in files of their own, are in the program and in its key."""
    import transformers

    repo = decoder_repo(tmp_path / "repo", "gpt2", vocab_size=VOCAB + 5)
    (repo / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    named = repo / "additional_chat_templates"
    named.mkdir()
    (named / "tool_use.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    theirs = transformers.AutoTokenizer.from_pretrained(repo)
    made = QEFFAutoModelForCausalLM.from_pretrained(repo)
    before = made.compile(ctx_len=48, verify="off")
    own = ChatTemplate.from_folder(Path(before))
    chat = [{"role": "user", "content": "Hello"}]
    assert own.special_tokens == theirs.special_tokens_map and own.special_tokens["bos_token"] == "<|endoftext|>"
    for name in (None, "tool_use"):
        expected = theirs.apply_chat_template(chat, chat_template=name, tokenize=False)
        assert own.render(chat, chat_template=name, add_generation_prompt=False) == expected
    (named / "tool_use.jinja").write_text("{{ messages[0].content }}")
    assert made.compile(ctx_len=48, verify="off") != before
    made.close()


def test_a_saved_program_runs_on_another_backend(model: QEFFAutoModelForCausalLM, repo: Path, tmp_path: Path) -> None:
    import transformers

    saved = model.save_pretrained(tmp_path / "saved")
    again = QEFFAutoModelForCausalLM.from_pretrained(saved, backend="openvino")
    theirs, ids = transformers.AutoModelForCausalLM.from_pretrained(repo), model._need_loaded().tokenizer.ids(PROMPT)
    assert again.device_report()["backend"] == "openvino"
    loaded = again._need_loaded()
    assert loaded.facts == model._need_loaded().facts
    assert loaded.generation_config == model._need_loaded().generation_config
    assert ChatTemplate.from_folder(loaded.program.path).special_tokens
    decoder = opened(again)
    assert tokens_of(decoder, ids, 8) == greedy(theirs, ids, 8)
    decoder.close()
    again.close()


def test_the_same_compile_finds_the_program_and_the_session_goes_on(model: QEFFAutoModelForCausalLM) -> None:
    engine, path = model._need_loaded().engine(), model.program_path
    assert model.compile(ctx_len=128, prefill_seq_len=16, full_batch_size=3) == path
    assert model._need_loaded().engine() is engine


def test_another_context_is_another_program_of_the_same_graph(
    model: QEFFAutoModelForCausalLM, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import QEfficient.build.decoder_graph

    monkeypatch.delattr(QEfficient.build.decoder_graph, "export_decoder")  # nothing is exported
    monkeypatch.delattr(decoder_reference, "reference_continuations")  # and HuggingFace is not asked again
    other = QEFFAutoModelForCausalLM.from_pretrained(repo)
    assert other.compile(ctx_len=64, prefill_seq_len=16, full_batch_size=3) != model.program_path
    assert other.device_report()["decoder"]["ctx_len"] == 64


def test_a_saved_program_opens_without_torch(model: QEFFAutoModelForCausalLM, repo: Path, tmp_path: Path) -> None:
    import transformers

    saved = model.save_pretrained(tmp_path / "saved")
    prompt = byte_tokenizer()(PROMPT)["input_ids"]
    script = f"""{BLOCK}
import json
from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.generation.decoder import Chunk
from QEfficient.generation.session_decoder import SessionDecoder
model = QEFFAutoModelForCausalLM.from_pretrained(sys.argv[1])
loaded = model._need_loaded()
ids = loaded.tokenizer.encode([{PROMPT!r}]).rows.columns["input_ids"][0].tolist()
decoder = SessionDecoder(loaded.backend.open(loaded.program), loaded.facts)
for start in range(0, len(ids), 16):
    logits = decoder.prefill([Chunk(1, ids[start:start + 16], start)])
assert model.device_report()["backend"] == "onnxruntime"
assert loaded.engine().facts.ctx_len == 128
assert loaded.generation_config["temperature"] == 0.7
assert model.get_model_config["model_type"] == "llama" and model.model_name == "LlamaForCausalLM"
print(json.dumps([ids, int(logits[0].argmax())]))
"""
    done = subprocess.run([sys.executable, "-c", script, saved], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ids, first = json.loads(done.stdout)
    assert ids == prompt
    assert first == greedy(transformers.AutoModelForCausalLM.from_pretrained(repo), prompt, 1)[0]


def test_a_warm_compile_needs_no_torch(model: QEFFAutoModelForCausalLM, repo: Path, home: Path) -> None:
    script = f"""{BLOCK}
import os
os.environ["QEFF_HOME"] = {str(home)!r}
from QEfficient import QEFFAutoModelForCausalLM
model = QEFFAutoModelForCausalLM.from_pretrained(sys.argv[1])
print(model.compile(ctx_len=128, prefill_seq_len=16, full_batch_size=3))
"""
    done = subprocess.run([sys.executable, "-c", script, str(repo)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == model.program_path


def test_a_saved_program_keeps_its_form_and_has_no_torch_model(model: QEFFAutoModelForCausalLM, tmp_path: Path) -> None:
    saved = model.save_pretrained(tmp_path / "saved")
    with pytest.raises(UsageError, match="another form"):
        QEFFAutoModelForCausalLM.from_pretrained(saved, continuous_batching=False)
    again = QEFFAutoModelForCausalLM.from_pretrained(saved, continuous_batching=True)
    for call in (again.compile, again.export, lambda: again.fine_tune(["a text"])):
        with pytest.raises(UsageError, match="saved program has none"):
            call()
    from QEfficient import QEFFAutoModel

    with pytest.raises(UsageError, match="another task"):
        QEFFAutoModel.from_pretrained(saved)


def test_a_pickle_is_the_program_s_path(model: QEFFAutoModelForCausalLM) -> None:
    import copy
    import pickle

    again = pickle.loads(pickle.dumps(model))
    assert again.program_path == model.program_path and again._continuous is model._continuous
    twin = copy.deepcopy(model)
    assert twin._need_loaded().engine() is not model._need_loaded().engine()
    twin.close()
    again.close()


# ---------------------------------------------------------------------------------------------- the check


def test_texts_of_the_caller_are_gone_on_with_too(model: QEFFAutoModelForCausalLM, repo: Path) -> None:
    other = QEFFAutoModelForCausalLM.from_pretrained(repo)
    other.compile(ctx_len=128, prefill_seq_len=16, full_batch_size=3, texts=["Tea?", "x" * 500])
    assert other.device_report()["verify"]["rows"] == 14


def test_a_lost_row_of_the_cache_is_refused(
    model: QEFFAutoModelForCausalLM, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SessionDecoder.decode

    def shifted(self: SessionDecoder, rows: Sequence[Chunk]) -> Any:
        return original(self, [dataclasses.replace(row, start=row.start - 1) for row in rows])

    monkeypatch.setattr(SessionDecoder, "decode", shifted)
    other = QEFFAutoModelForCausalLM.from_pretrained(repo)
    with pytest.raises(VerificationError, match="first token that differs"):
        other.compile(ctx_len=96, prefill_seq_len=16, full_batch_size=3)
    assert other.program_path is None


def test_verify_off_is_recorded(repo: Path) -> None:
    other = QEFFAutoModelForCausalLM.from_pretrained(repo)
    other.compile(ctx_len=64, verify="off")
    assert other.device_report()["verify"] == {"verify": "off"}


def test_the_card_s_arithmetic_is_emulated(repo: Path) -> None:
    other = QEFFAutoModelForCausalLM.from_pretrained(repo)
    other.compile(backend="emulator")
    report = other.device_report()
    assert report["decoder"] | {"room": 0} == {
        **{"ctx_len": 128, "cache_slots": 1, "decode_rows": 1, "prefill_len": 32, "continuous": False},
        **{"kept_logits": 1, "rewinds": True, "speculated": 0, "encoder_ctx_len": None, "room": 0},
    }
    assert 0.99 < report["verify"]["min_cosine"] < 1
    assert "emulated" in report["verify"]["where"]
    other.close()


@pytest.mark.parametrize(
    "keywords",
    [
        {"prefill_only": False},
        {"prefill_only": True},
        {"prefill_seq_len": 1, "kv_cache_batch_size": 5},
        {"num_speculative_tokens": 2},
        {"ctx_len": 12},
    ],
)
def test_every_set_of_entries_runs_as_a_card_would_run_it(keywords: dict[str, Any], repo: Path) -> None:
    other = QEFFAutoModelForCausalLM.from_pretrained(repo)
    other.compile(
        **{"ctx_len": 64, "prefill_seq_len": 16 if "ctx_len" not in keywords else 8, "full_batch_size": 3} | keywords
    )
    loaded = other._need_loaded()
    decoder = SessionDecoder(loaded.backend.open(loaded.program, strict=True), loaded.facts)
    kept = fitting(continuations.load(graph_folder(other)), loaded.facts)
    result, tokens = compare(kept, decoder, Limits(), "tiny", "here")
    assert result.passed and tokens.equal == tokens.compared > 0
    decoder.close()


def graph_folder(model: Any) -> Path:
    """Where the graph of a compiled model stands with what HuggingFace gave: the program has a link to it."""
    home = Path(model.program_path).parent
    size = Path(model.onnx_path).stat().st_ino
    found = [path for path in home.glob("onnx-*/*.onnx") if path.stat().st_ino == size]
    return found[0].parent


# ---------------------------------------------------------------------------------------------- continuations


def continuation(logits: Any, prompt: Sequence[int] = (1, 2)) -> Continuation:
    logits = np.asarray(logits, np.float32)
    return Continuation("a prompt", tuple(prompt), tuple(logits.argmax(-1).tolist()), logits)


class Given:
    """A decoder that answers with given logits."""

    def __init__(self, facts: Any, rows: Any) -> None:
        self.facts, self._rows, self._step = facts, np.asarray(rows, np.float32), 0

    def prefill(self, chunks: Sequence[Chunk]) -> Any:
        return self._rows[:1]

    def decode(self, rows: Sequence[Chunk]) -> Any:
        self._step += 1
        return self._rows[None, self._step : self._step + 1]


@pytest.mark.parametrize(
    ("got", "equal", "near", "first"),
    [
        ([[0.0, 5.0, 1.0], [3.0, 0.0, 2.9995]], 2, 0, False),
        ([[0.0, 5.0, 1.0], [2.9, 0.0, 2.9995]], 1, 1, False),  # nearer than 1e-3 in HuggingFace's logits
        ([[6.0, 5.0, 1.0], [3.0, 0.0, 2.9995]], 1, 0, True),
    ],
)
def test_a_token_counts_but_where_huggingface_itself_all_but_ties(got: Any, equal: int, near: int, first: bool) -> None:
    from QEfficient.records import DecoderFacts

    want = continuation([[0.0, 5.0, 1.0], [3.0, 0.0, 2.9995]])
    facts = DecoderFacts(ctx_len=16, cache_slots=2, decode_rows=2, prefill_len=4)
    result, tokens = compare([want], Given(facts, got), Limits(), "tiny", "here")  # type: ignore[arg-type]
    assert (tokens.equal, tokens.near, tokens.first is not None) == (equal, near, first)
    assert result.label_agreement == (equal + near) / 2


def test_what_does_not_fit_is_left_out() -> None:
    from QEfficient.records import DecoderFacts

    one = continuation(np.eye(4), prompt=range(10))

    def steps(room: int, source: int = 0, encoder_ctx_len: int | None = None) -> list[int]:
        facts = DecoderFacts(room, 2, 2, 4, encoder_ctx_len=encoder_ctx_len)
        return [len(each.tokens) for each in fitting([dataclasses.replace(one, source=(1,) * source)], facts)]

    assert steps(13) == [4]  # the last token is not written
    assert steps(11) == [2]
    assert steps(9) == []
    assert steps(13, source=7, encoder_ctx_len=7) == [4]
    assert steps(13, source=8, encoder_ctx_len=7) == []


def test_a_large_vocabulary_keeps_fewer() -> None:
    assert how_many(49152) == 10 and how_many(262144) == 2 and how_many(10**7) == 2


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    assert continuations.load(tmp_path) == []
    kept = [continuation(np.eye(4)), continuation(np.eye(4)[::-1], prompt=(3,))]
    continuations.save(tmp_path, kept)
    found = continuations.load(tmp_path)
    assert [(one.prompt, one.tokens) for one in found] == [(one.prompt, one.tokens) for one in kept]
    assert np.array_equal(found[1].logits, kept[1].logits)


def test_a_module_in_memory_has_its_own_generation_config() -> None:
    module = tiny_decoder("gpt2", vocab_size=VOCAB)
    module.generation_config.repetition_penalty = 1.25
    made = QEFFAutoModelForCausalLM(module)
    made.compile(ctx_len=48)
    loaded = made._need_loaded()
    assert loaded.generation_config["repetition_penalty"] == 1.25
    assert made.device_report()["verify"]["rows"] == 12  # random ids: there is no tokenizer
    module.generation_config.repetition_penalty = 1.5
    made.compile(ctx_len=48)
    assert made._need_loaded().generation_config["repetition_penalty"] == 1.5
    made.close()


def test_layers_that_keep_a_window_can_t_go_back(tmp_path: Path) -> None:
    made = QEFFAutoModelForCausalLM.from_pretrained(decoder_repo(tmp_path / "gemma", "gemma3_text"))
    made.compile(ctx_len=64, prefill_seq_len=16)
    facts = made._need_loaded().facts
    assert not facts.rewinds
    assert {shape["sliding_window"] for shape in made.device_report()["shapes"]} == {8 + HOST_DRAFT}
    made.close()


@pytest.mark.parametrize("kept", [1, 4])
def test_a_ring_holds_its_window_and_as_many_more_as_may_be_drafted(kept: int, tmp_path: Path) -> None:
    layers = (LayerCache(2, 8, window=5, ring=True), LayerCache(2, 8), LayerCache(2, 8, window=7, ring=True))
    save_caches(tmp_path, layers)
    facts = DecoderFacts(64, 2, 2, 8, kept_logits=kept)
    model = OnnxModel(tmp_path / "model.onnx", (), (), digest="")
    assert with_layers(model, facts) == (dataclasses.replace(facts, rewinds=False), 6 + kept)
    save_caches(tmp_path, layers[1:2])
    assert with_layers(model, facts) == (facts, None)
