"""Pruned models: they load everywhere, and give the very same vectors for texts that lose no token."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

import QEfficient
from QEfficient import QEFFAutoModel, QEFFAutoModelForMaskedLM
from QEfficient.compress.vocabulary.report import NO_GAIN, VocabularyReport
from tests.compress.vocabularies import KINDS, TEXTS, model, repo, tokenizer
from tests.tiny_repo import tiny_repo

DATA = TEXTS[:20:2]
OTHERS = ["a cat chases the mouse", "a cat chases the bird", "nobody is eaten by zebras, quite unheard of"]
# Kind of tokenizer → model of transformers, its class here, and what its config has beside the usual.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "WordPiece": ("BertForMaskedLM", "QEFFAutoModelForMaskedLM", {"pad_token_id": 0}),
    "byte-level BPE": ("RobertaModel", "QEFFAutoModel", {"pad_token_id": 1, "type_vocab_size": 1}),
    "BPE with bytes": ("Qwen3Model", "QEFFAutoModel", {"head_dim": 8, "num_key_value_heads": 1}),
    "Unigram": ("XLMRobertaForMaskedLM", "QEFFAutoModelForMaskedLM", {"pad_token_id": 1, "type_vocab_size": 1}),
}


def made_of(kind: str, folder: Path, padded: int = 7) -> tuple[Any, Any]:
    """A repo with some rows more than tokens, and the object on it."""
    name, auto, more = MODELS[kind]
    module = model(name, KINDS[kind]().get_vocab_size() + padded, **more)
    return getattr(QEfficient, auto).from_pretrained(repo(folder, kind, module)), module


def outputs(module: Any, ids: list[int]) -> list[torch.Tensor]:
    with torch.inference_mode():
        given = torch.tensor([ids])
        found = [module.base_model(input_ids=given)[0]]
        return found if module.get_output_embeddings() is None else [*found, module(input_ids=given).logits]


@pytest.mark.parametrize("kind", MODELS)
def test_transformers_loads_it_and_its_numbers_are_the_same(kind: str, tmp_path: Path) -> None:
    before, module = made_of(kind, tmp_path / "before")
    files = {path: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    state = {name: tensor.clone() for name, tensor in before.model.state_dict().items()}
    pruned = before.prune_vocabulary(DATA, eval=OTHERS, max_lost=1, output_dir=tmp_path / "after")
    assert type(pruned) is type(before)
    assert {path: path.read_bytes() for path in (tmp_path / "before").iterdir()} == files
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.model.state_dict().items())

    folder = tmp_path / "after" / "model"
    plain = getattr(transformers, type(module).__name__).from_pretrained(folder).eval()
    old, new = tokenizer(kind), transformers.AutoTokenizer.from_pretrained(folder)
    names = new.get_vocab()
    assert plain.get_input_embeddings().weight.shape[0] == plain.config.vocab_size == len(names)
    assert len(names) < len(old.get_vocab())
    order = sorted(names, key=names.__getitem__)
    rows = [old.get_vocab()[name] for name in order]
    for name in ("pad_token", "mask_token", "unk_token", "eos_token", "bos_token"):
        assert getattr(new, name) == getattr(old, name)
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        was, now = getattr(module.config, name), getattr(plain.config, name)
        assert was == now if was is None or was >= len(rows) else rows[now] == was
    lost = pruned.lost_tokens(OTHERS)
    assert lost.touched == (2,) and "1 of 3 texts (33.3%)" in str(lost)
    for place, text in enumerate([*OTHERS, *DATA[:4]]):
        if place in lost.touched:
            continue
        ids = old(text)["input_ids"], new(text)["input_ids"]
        assert [rows[token] for token in ids[1]] == ids[0]
        first, second = outputs(module, ids[0]), outputs(plain, ids[1])
        assert torch.equal(first[0], second[0])
        if len(first) > 1:
            torch.testing.assert_close(first[1][..., rows], second[1], rtol=0, atol=1e-5)

    report = VocabularyReport.of(pruned.compressed[-1]["made"])
    assert (report.tokens_before, report.tokens_after) == (module.config.vocab_size, len(names))
    assert report.texts == 3 and report.touched == len(lost.touched) and NO_GAIN in str(report)
    head = module.get_output_embeddings() is not None
    assert report.table_bytes_after == 4 * len(names) * (16 + head)  # the head's weights are the table's; its bias
    assert pruned.compressed[-1]["data"]["eval"]["rows"] == 3


@pytest.mark.parametrize("tied", [True, False])
def test_scores_of_words_are_those_of_the_words_that_stay(tied: bool, tmp_path: Path) -> None:
    module = model("BertForMaskedLM", KINDS["WordPiece"]().get_vocab_size(), tie_word_embeddings=tied)
    torch.nn.init.normal_(module.cls.predictions.bias)
    before = QEFFAutoModelForMaskedLM.from_pretrained(repo(tmp_path / "before", "WordPiece", module))
    after = before.prune_vocabulary(DATA[:3], eval=DATA[:3], output_dir=tmp_path)
    old, new = tokenizer("WordPiece"), transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = [old.get_vocab()[name] for name in sorted(new.get_vocab(), key=new.get_vocab().__getitem__)]
    arrays = [dict(one(DATA[0].replace("the", "[MASK]"), return_tensors="np")) for one in (old, new)]
    found = [
        one.generate(given, runtime_ai100=False)["logits"] for one, given in zip((before, after), arrays, strict=True)
    ]
    np.testing.assert_allclose(found[0][..., rows], found[1], atol=1e-5)
    assert found[1].shape[-1] == len(rows) < module.config.vocab_size


def test_compiled_for_the_host_the_vectors_are_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a multilingual model, whose table is most of it: with the pooling and the prompts of its repo."""
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    module = model("XLMRobertaModel", KINDS["Unigram"]().get_vocab_size(), pad_token_id=1, type_vocab_size=1)
    before = QEFFAutoModel.from_pretrained(repo(tmp_path / "before", "Unigram", module), pooling="mean")
    after = before.prune_vocabulary(DATA, eval=OTHERS, max_lost=1)
    assert str(tmp_path / "home") in after.name_or_path
    texts = [*DATA, *TEXTS[-40::4]]
    lost = after.lost_tokens(texts)
    same = [text for place, text in enumerate(texts) if place not in lost.touched]
    assert lost.touched and len(same) >= 10
    for one in (before, after):
        one.compile(seq_len=48)
    assert np.array_equal(before.encode(same), after.encode(same))
    others = [texts[place] for place in lost.touched]
    assert not np.array_equal(before.encode(others), after.encode(others))
    assert after.device_report()["compressed"] == after.compressed and after.compressed[0]["step"] == "prune_vocabulary"
    saved = QEFFAutoModel.from_pretrained(after.save_pretrained(tmp_path / "program"))
    assert saved.compressed == after.compressed
    with pytest.raises(QEfficient.QEfficientError, match="lost_tokens needs the torch model"):
        saved.lost_tokens(DATA)


def test_a_repo_of_sentence_transformers_stays_one(tmp_path: Path) -> None:
    folder = tiny_repo(tmp_path / "before")
    prompts = {"prompts": {"query": "Ask, Zebedee: "}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    before = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    after = before.prune_vocabulary(DATA, eval=DATA, keep=["a keepsake", "##ing"], output_dir=tmp_path / "after")
    first, second = (SentenceTransformer(str(one), device="cpu") for one in (folder, tmp_path / "after" / "model"))
    assert len(second[0].tokenizer) < len(first[0].tokenizer) and second.prompts["query"] == "Ask, Zebedee: "
    for texts, prompt in ((DATA, None), (["a keepsake"], None), (DATA[:3], "query")):
        wanted = first.encode(texts, prompt_name=prompt, batch_size=1)
        assert np.array_equal(wanted, second.encode(texts, prompt_name=prompt, batch_size=1))
    assert "##ing" in second[0].tokenizer.get_vocab() and "[unused5]" not in second[0].tokenizer.get_vocab()
    assert after.prompts == before.prompts and after.max_seq_length == before.max_seq_length


def test_pruned_twice_what_is_lost_is_told_of_the_first(tmp_path: Path) -> None:
    before, _ = made_of("Unigram", tmp_path / "before")
    once = before.prune_vocabulary(DATA, eval=DATA, output_dir=tmp_path / "once")
    twice = once.prune_vocabulary(DATA[:2], eval=DATA[:2], output_dir=tmp_path / "twice")
    assert twice.config.vocab_size < once.config.vocab_size
    assert [step["step"] for step in twice.compressed] == ["prune_vocabulary"] * 2
    assert [name for name, _ in once.lost_tokens(OTHERS).lost] == ["▁eat"]
    lost = twice.lost_tokens(OTHERS)
    assert lost.touched == (1, 2) and [name for name, _ in lost.lost] == ["▁bird", "▁eat"]
    again = type(twice).from_pretrained(tmp_path / "twice" / "model")
    assert again.lost_tokens(DATA) == twice.lost_tokens(DATA)
    assert not again.lost_tokens(DATA[:2]).touched


def test_weights_stay_in_the_precision_of_their_files(tmp_path: Path) -> None:
    module = model("BertModel", 105, hidden_size=32).to(torch.bfloat16)
    folder = repo(tmp_path / "before", "WordPiece", module)
    before = QEFFAutoModel.from_pretrained(folder, pooling="mean")
    before.prune_vocabulary(DATA[:3], eval=DATA[:3], output_dir=tmp_path)
    plain = transformers.AutoModel.from_pretrained(tmp_path / "model")
    assert plain.dtype == torch.bfloat16 and before.model.dtype == torch.float32
    assert torch.equal(plain.encoder.layer[0].output.dense.weight, module.encoder.layer[0].output.dense.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_module_in_memory_is_pruned_with_its_tokenizer(dtype: torch.dtype, tmp_path: Path) -> None:
    module = model("BertModel", KINDS["WordPiece"]().get_vocab_size())
    module.set_attn_implementation("eager")  # as models are loaded from folders: another one rounds other bits
    module.to(dtype).train()  # as whoever trains it left it
    before = QEFFAutoModel(module, pooling="cls")
    after = before.prune_vocabulary(DATA, eval=DATA, tokenizer=tokenizer("WordPiece"), output_dir=tmp_path)
    assert after.model.config.vocab_size < module.config.vocab_size and after.model.dtype == module.dtype == dtype
    assert module.training
    readers = tokenizer("WordPiece"), transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    arrays = [dict(one(DATA[0], return_tensors="np")) for one in readers]
    found = [
        one.generate(given, runtime_ai100=False)["output"] for one, given in zip((before, after), arrays, strict=True)
    ]
    assert np.array_equal(*found)


def test_without_eval_a_tenth_tells_and_all_tokens_stay(tmp_path: Path) -> None:
    before, _ = made_of("WordPiece", tmp_path / "before")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = before.prune_vocabulary(TEXTS, max_lost=0.1, output_dir=tmp_path / "after")
    assert not after.lost_tokens(TEXTS).touched
    made = VocabularyReport.of(after.compressed[-1]["made"])
    assert made.measured_on == "a tenth of data" and made.texts == len(TEXTS) // 10


def pieces_of(kind: str) -> dict[str, Any]:
    """What transformers' own classes of tokenizers are made of."""
    found = json.loads(KINDS[kind]().to_str())["model"]
    if kind == "Unigram":
        return {"vocab": [tuple(piece) for piece in found["vocab"]]}
    merges = {"merges": [tuple(pair) for pair in found["merges"]]} if "merges" in found else {}
    return {"vocab": found["vocab"], **merges}


T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}


@pytest.mark.parametrize(
    ("reader", "kind", "name", "more"),
    [
        ("XLMRobertaTokenizer", "Unigram", "XLMRobertaModel", {"pad_token_id": 1, "type_vocab_size": 1}),
        ("T5Tokenizer", "Unigram", "T5EncoderModel", T5),
        ("DebertaV2Tokenizer", "Unigram", "DebertaV2Model", {}),
        ("MPNetTokenizer", "WordPiece", "MPNetModel", {"pad_token_id": 1}),
        ("RobertaTokenizer", "byte-level BPE", "RobertaModel", {"pad_token_id": 1, "type_vocab_size": 1}),
        ("LlamaTokenizer", "BPE with bytes", "LlamaModel", {}),
        ("Qwen2Tokenizer", "byte-level BPE", "Qwen3Model", {"head_dim": 8, "num_key_value_heads": 1}),
    ],
)
def test_tokenizers_that_transformers_makes_anew_from_their_pieces(
    reader: str, kind: str, name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    """Their classes take the pieces of the file, and make the rest themselves: special tokens, ids of their own."""
    old = getattr(transformers, reader)(**pieces_of(kind))
    model(name, len(old) + 5, **more).save_pretrained(tmp_path / "before")
    old.save_pretrained(tmp_path / "before")
    before = QEFFAutoModel.from_pretrained(tmp_path / "before", pooling="mean")
    after = before.prune_vocabulary(DATA, eval=TEXTS, max_lost=1, output_dir=tmp_path)
    lost = after.lost_tokens(TEXTS)
    same = [text for place, text in enumerate(TEXTS) if place not in lost.touched]
    assert set(DATA) <= set(same) and lost.touched
    new = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert type(new) is type(old) and len(new) == after.config.vocab_size < len(old)
    for text in (*same[:4], (same[0], same[1])):
        given = [text] if isinstance(text, str) else text
        rows = [dict(one(*given, return_tensors="np", return_token_type_ids=False)) for one in (old, new)]
        first, second = (
            one.generate(row, runtime_ai100=False)["output"] for one, row in zip((before, after), rows, strict=True)
        )
        assert np.array_equal(first, second)
