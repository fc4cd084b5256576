"""Every public method that takes texts, with every container: the plain list's result, or an error that names it."""

from __future__ import annotations

import dataclasses
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import QEfficient
from QEfficient import (
    QEFFAutoModel,
    QEFFAutoModelForCausalLM,
    QEFFAutoModelForSeq2SeqLM,
    QEFFAutoModelForSequenceClassification,
    arguments,
)
from QEfficient.auto import multiple_choice
from QEfficient.diagnostics import analyze as analysis
from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.evaluate import mteb
from QEfficient.records import Shape, TensorSpec
from QEfficient.runtime.signals import from_signals
from QEfficient.runtime.suggest import suggest_buckets
from tests.containers import LISTS, OF_PAIRS, OF_STRINGS, PAIR_ROWS_REFUSED, REFUSED, ROWS_REFUSED, objects, series
from tests.generation.decoder_repos import VOCAB, byte_tokenizer, decoder_repo
from tests.reranker_repos import bert_reranker
from tests.tiny_repo import tiny_repo
from tests.train import language_models

TEXTS = ["A cat.", "the quick brown fox jumps over the lazy dog", "ünïcödé ☃", "a dog"]
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))
SMALL: dict[str, Any] = {"ctx_len": 16, "encoder_ctx_len": 96, "full_batch_size": 2}
TASK = SimpleNamespace(name="any", type="any")


@dataclass
class Bench:
    """What the calls work on."""

    repo: Path
    encoder: QEFFAutoModel
    ranker: QEFFAutoModelForSequenceClassification
    texts_repo: Path
    writer: QEFFAutoModelForCausalLM
    sources_repo: Path
    translator: QEFFAutoModelForSeq2SeqLM

    def fresh(self) -> QEFFAutoModel:
        return QEFFAutoModel.from_pretrained(self.repo, pooling="mean")

    def compiled(self, texts: Any) -> str:
        return self.fresh().compile(seq_len=32, texts=texts)

    def compiled_writer(self, texts: Any) -> str:
        """Its weights are random: what it goes on with is checked elsewhere."""
        model = QEFFAutoModelForCausalLM.from_pretrained(self.texts_repo)
        return model.compile(ctx_len=96, full_batch_size=2, texts=texts, limits={"min_label_agreement": 0.0})

    def quantized_writer(self, texts: Any) -> list[Any]:
        """Likewise: what is recorded."""
        model = QEFFAutoModelForCausalLM.from_pretrained(self.texts_repo)
        limits = {"min_label_agreement": 0.0, "max_perplexity_change": None}
        return model.quantize("int8_weights", texts=texts, ctx_len=96, full_batch_size=2, limits=limits).compressed

    def compiled_translator(self, texts: Any) -> str:
        """Likewise."""
        model = QEFFAutoModelForSeq2SeqLM.from_pretrained(self.sources_repo)
        return model.compile(**SMALL, texts=texts, limits={"min_label_agreement": 0.0})

    def column(self, texts: Any) -> list[dict[str, Any]]:
        return [{"text": texts}]

    def keywords(self) -> dict[str, Any]:
        return {"task_metadata": TASK, "hf_split": "test", "hf_subset": "default"}


@dataclass(frozen=True)
class Call:
    """One parameter of one method.

    `run` hands it a container and gives what is compared; `items` is what the container holds; `single` says that a
    string alone is taken too, `optional` that `None` is; `ordered`, that the result shows the order;
    of slow ones every `step`-th container is tried.
    """

    run: Callable[[Bench, Any], Any]
    items: str = "texts"
    single: bool = False
    optional: bool = False
    ordered: bool = True
    step: int = 1


def benchmark(b: Bench, texts: Any) -> Any:
    found = b.encoder.benchmark(texts, rounds=1, seconds=1e-9, batch=2)
    return found.inputs, found.batch, found.rows, found.work.tokens


def scores(b: Bench, first: Any, second: Any) -> Any:
    return mteb.MTEBCrossEncoder(b.ranker).predict(b.column(first), b.column(second), **b.keywords())


def quantized(bench: Bench, texts: Any) -> Any:
    """What is recorded of the texts; in numbers that need no calibration, which takes long."""
    found = bench.encoder.quantize(
        "mxfp6", texts=texts, limits={"min_cosine": 0.5, "min_rank_agreement": None}, seq_len=32
    )
    return found.compressed


def pruned(bench: Bench, keep: Any) -> Any:
    """What is recorded of the tokens that stay in any case."""
    return bench.fresh().prune_vocabulary(["a text"], keep=keep).compressed[-1]["how"]


CALLS: dict[tuple[str, str], Call] = {
    ("QEFFAutoModel.encode", "inputs"): Call(lambda b, v: b.encoder.encode(v), single=True),
    ("QEFFAutoModel.encode", "sentences"): Call(lambda b, v: b.encoder.encode(sentences=v), single=True),
    ("QEFFAutoModel.encode_query", "inputs"): Call(lambda b, v: b.encoder.encode_query(v), single=True),
    ("QEFFAutoModel.encode_document", "inputs"): Call(lambda b, v: b.encoder.encode_document(v), single=True),
    ("QEFFAutoModel.encode_iter", "inputs"): Call(lambda b, v: list(b.encoder.encode_iter(v))),
    ("QEFFAutoModel.encode_iter", "sentences"): Call(lambda b, v: list(b.encoder.encode_iter(sentences=v))),
    ("EncoderRoad.compile", "texts"): Call(Bench.compiled, optional=True, step=2),
    ("CausalRoad.compile", "texts"): Call(Bench.compiled_writer, optional=True, step=4),
    ("DecoderRoad.quantize", "texts"): Call(Bench.quantized_writer, optional=True, step=16),
    # without prompts a call of generate is one of ids
    ("Generating.generate", "prompts"): Call(
        lambda b, v: b.writer.generate(prompts=v, max_new_tokens=3, stream=False).generated_texts,
        single=True,
        optional=True,
    ),
    ("Generating.perplexity", "texts"): Call(
        lambda b, v: [round(loss, 3) for loss in b.writer.perplexity(v).losses], single=True
    ),
    ("Seq2SeqRoad.compile", "texts"): Call(Bench.compiled_translator, optional=True, step=8),
    ("Translating.translate", "texts"): Call(lambda b, v: b.translator.translate(v, max_new_tokens=3), single=True),
    ("Translating.summarize", "texts"): Call(lambda b, v: b.translator.summarize(v, max_new_tokens=3), single=True),
    ("Insight.verify", "texts"): Call(lambda b, v: b.encoder.verify(v).to_json(), optional=True, ordered=False, step=3),
    ("Insight.doctor", "texts"): Call(lambda b, v: b.encoder.doctor(v).to_json(), optional=True, step=3),
    ("Insight.analyze", "texts"): Call(
        lambda b, v: dataclasses.replace(b.encoder.analyze(texts=v, before=False, fp16=False), created=""),
        optional=True,
        ordered=False,
        step=4,
    ),
    ("Quantizing.quantize", "texts"): Call(quantized, optional=True, step=8),
    ("VocabularyPruning.prune_vocabulary", "keep"): Call(pruned, optional=True, step=16),
    ("Insight.suggest_buckets", "texts"): Call(lambda b, v: b.encoder.suggest_buckets(v)),
    ("Insight.benchmark", "texts"): Call(benchmark, optional=True),
    ("QEFFAutoModelForSequenceClassification.predict", "inputs"): Call(
        lambda b, v: b.ranker.predict(v), "pairs", single=True
    ),
    ("QEFFAutoModelForSequenceClassification.rank", "documents"): Call(
        lambda b, v: b.ranker.rank(TEXTS[0], v, return_documents=True)
    ),
    ("MTEBEncoder.encode", "inputs"): Call(
        lambda b, v: mteb.MTEBEncoder(b.encoder).encode(b.column(v), **b.keywords())
    ),
    ("MTEBCrossEncoder.predict", "inputs1"): Call(lambda b, v: scores(b, v, TEXTS)),
    ("MTEBCrossEncoder.predict", "inputs2"): Call(lambda b, v: scores(b, TEXTS, v)),
    # rows of numbers
    ("QEFFTransformersBase.generate", "inputs"): Call(
        lambda b, v: b.encoder.generate({"input_ids": v})["output"], "ids"
    ),
    ("QEFFAutoModelForMultipleChoice.generate", "inputs"): Call(
        lambda b, v: multiple_choice._flatten({"input_ids": v})[0]["input_ids"], "choices"
    ),
}
NO_CONTAINERS = {
    ("QAICInferenceSession.run", "inputs"): "arrays of exactly the program's dtypes, as its own check says",
    ("QAICInferenceSession.set_buffers", "buffers"): "likewise",
    ("QAICInferenceSession.skip_buffers", "skipped_buffer_names"): "names of the program's own buffers",
    ("Evaluations.set_evaluation_metrics", "metrics"): "figures by name",
    ("Insight.evaluate", "metrics"): "names of metrics",
    ("Insight.evaluate", "columns"): "role → column",
    ("Quantizing.quantize", "columns"): "role → column",
    ("Pruning.prune", "columns"): "role → column",
    ("Pruning.prune", "recover"): "keywords of distill",
    ("Pruning.mask", "columns"): "role → column",
    ("VocabularyPruning.prune_vocabulary", "columns"): "role → column",
}
NO_CONTAINERS |= {
    (f"{kind}.fine_tune", "columns"): "role → column" for kind in ("FineTuning", "LanguageTuning", "Translating")
}
NO_CONTAINERS |= {
    ("Generating.stream", "prompt"): "one text, or one conversation",
    ("QEFFAutoModelForCausalLM.from_pretrained", "qaic_config"): "key → value",
    **{(f"Generating.{name}", "documents"): "mappings, as the template knows them" for name in ("chat", "stream")},
    **{(f"Generating.{name}", "template_kwargs"): "name → value" for name in ("chat", "stream")},
}
NO_CONTAINERS |= {(f"{kind}.distill", "columns"): "role → column" for kind in ("QEFFAutoModel", "HeadDistilling")}

ITEMS: dict[str, list[Any]] = {
    "texts": TEXTS,
    "pairs": PAIRS,
    "ids": [[101, 2000 + row, 102] for row in range(4)],
    "choices": [[[101, 2000 + row, 102], [101, 3000 + row, 102]] for row in range(4)],
}
KINDS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "texts": LISTS | OF_STRINGS,
    "pairs": LISTS | OF_PAIRS,
    "ids": LISTS,
    "choices": LISTS,
}


# ---------------------------------------------------------------------------------------------- no method is forgotten


def takes_many(parameter: inspect.Parameter) -> bool:
    """Whether it is a container of texts, pairs, images or clips, by its type or by its name."""
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return False
    typed = re.search(
        r"(Iterable|Sequence|list)\[(str|Pair|tuple)|\bBatches\b|Mapping\[str, Any\]", str(parameter.annotation)
    )
    return bool(typed) or parameter.name in {"inputs", "sentences", "texts", "documents", "pairs", "images", "clips"}


def public_classes() -> Iterator[type]:
    for name in QEfficient.__all__:
        value = getattr(QEfficient, name)
        if isinstance(value, type) and not issubclass(value, Exception):
            yield value
    yield from (mteb.MTEBEncoder, mteb.MTEBCrossEncoder)


def test_every_method_that_takes_texts_is_in_the_table() -> None:
    found = set()
    for kind in public_classes():
        for name, method in inspect.getmembers(kind, inspect.isroutine):
            public = not name.startswith("_") or name == "__call__"
            if not public or not callable(method) or not method.__module__.startswith("QEfficient"):
                continue
            parameters = inspect.signature(method).parameters.values()
            found |= {(method.__qualname__, one.name) for one in parameters if takes_many(one)}
    assert found - set(NO_CONTAINERS) == set(CALLS)


# ---------------------------------------------------------------------------------------------- results and errors


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    repo = tiny_repo(tmp_path_factory.mktemp("repo"), layers=1)
    pairs = bert_reranker(tmp_path_factory.mktemp("ranker"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        encoder = QEFFAutoModel.from_pretrained(repo, pooling="mean")
        encoder.compile(seq_len=32)
        ranker = QEFFAutoModelForSequenceClassification.from_pretrained(pairs)
        ranker.compile(verify="off")
        texts_repo = decoder_repo(tmp_path_factory.mktemp("writer") / "tiny")
        writer = QEFFAutoModelForCausalLM.from_pretrained(texts_repo)
        writer.compile(ctx_len=96, full_batch_size=2, verify="off")
        sources_repo = tmp_path_factory.mktemp("translator")
        language_models.model("t5", vocab_size=VOCAB).save_pretrained(sources_repo)
        byte_tokenizer().save_pretrained(sources_repo)
        translator = QEFFAutoModelForSeq2SeqLM.from_pretrained(sources_repo)
        translator.compile(**SMALL, verify="off")
        yield Bench(repo, encoder, ranker, texts_repo, writer, sources_repo, translator)
        writer.close()
        translator.close()


@pytest.fixture(autouse=True)
def one_cache(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(Path(bench.encoder.program_path or "").parents[1]))
    monkeypatch.setattr(analysis, "speed_points", lambda *_: ())  # of the model's sizes, whatever the texts


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else bool(a == b)


_plain: dict[tuple[str, str], Any] = {}


def plain(bench: Bench, key: tuple[str, str]) -> Any:
    """What the plain list gives."""
    if key not in _plain:
        _plain[key] = CALLS[key].run(bench, ITEMS[CALLS[key].items])
    return _plain[key]


def ids(key: tuple[str, str]) -> str:
    return ".".join(key)


@pytest.mark.parametrize("key", CALLS, ids=ids)
def test_a_container_counts_by_position(bench: Bench, key: tuple[str, str]) -> None:
    call = CALLS[key]
    items, want = ITEMS[call.items], plain(bench, key)
    assert not same(want, call.run(bench, items[::-1] if call.ordered else items[1:]))
    for name, make in list(KINDS[call.items].items())[:: call.step]:
        assert same(want, call.run(bench, make(items))), name


@pytest.mark.parametrize("key", CALLS, ids=ids)
def test_what_is_no_list_is_refused_by_name(bench: Bench, key: tuple[str, str]) -> None:
    call = CALLS[key]
    kinds: dict[str, Callable[[Sequence[Any]], Any]] = dict(REFUSED)
    if call.items in ("ids", "choices"):  # numbers: a frame of them is an array, and one number is checked as a shape
        kinds = {name: REFUSED[name] for name in ("set", "frozenset", "dict", "UserDict", "bytes", "object")}
    else:
        kinds |= {} if call.single else {"str": lambda items: items[0]}
        kinds |= {} if call.optional else {"None": lambda items: None}
    for name, make in kinds.items():
        value = make(TEXTS)
        with pytest.raises(InputError) as caught:
            call.run(bench, value)
        error = caught.value
        assert f"{type(value).__name__}: " in str(error.got), name
        assert re.search("a list|list[(]|one of its columns|decode", str(error.do)), name


ROWS = [key for key, call in CALLS.items() if call.items in ("texts", "pairs")]


@pytest.mark.parametrize("key", ROWS, ids=ids)
def test_a_row_that_is_no_text_is_refused_by_its_number(bench: Bench, key: tuple[str, str]) -> None:
    call = CALLS[key]
    rows = ROWS_REFUSED | (PAIR_ROWS_REFUSED if call.items == "pairs" else {})
    for name, make in rows.items():
        with pytest.raises(InputError) as caught:
            call.run(bench, make(ITEMS[call.items]))
        assert re.search(r"Row \d|dims", str(caught.value)), name
        assert caught.value.do, name


CHEAP = [  # and they take empty texts
    key
    for key, call in CALLS.items()
    if key[0].partition(".")[0] not in ("Insight", "Generating") and not call.optional
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_index_of_any_texts(bench: Bench, data: st.DataObject) -> None:
    """Also empty ones, and labels that repeat; what a filter or a sort leaves behind."""
    key = data.draw(st.sampled_from(CHEAP))
    call = CALLS[key]
    texts = st.text(st.characters(codec="utf-8"), max_size=20)
    item = {"texts": texts, "pairs": st.tuples(texts, texts)}.get(call.items, st.sampled_from(ITEMS[call.items]))
    if key[0] == "MTEBCrossEncoder.predict":
        many = data.draw(st.lists(item, min_size=len(TEXTS), max_size=len(TEXTS)))
    else:
        many = data.draw(st.lists(item, min_size=0 if key in ROWS else 1, max_size=6))
    label = st.one_of(st.integers(-9, 9), st.text(max_size=2), st.none())
    kind = data.draw(st.sampled_from(["series", "sorted", "filtered", *LISTS]))
    if kind == "series":
        index = data.draw(st.lists(label, min_size=len(many), max_size=len(many)))
        value = series(many, objects(index))
    elif kind == "sorted":
        order = data.draw(st.permutations(range(len(many))))
        value = series([many[place] for place in order], order).sort_index()
    elif kind == "filtered":
        value = series([*many, *many[:1]], range(len(many) + len(many[:1])))[: len(many)]
    else:
        value = LISTS[kind](many)
    assert same(call.run(bench, many), call.run(bench, value))


# ---------------------------------------------------------------------------------------------- one of something


def test_one_pair_by_position(bench: Bench) -> None:
    want = bench.ranker.predict(("a query", "a document"))
    assert want != bench.ranker.predict(("a document", "a query"))
    for make in (LISTS | OF_STRINGS).values():
        assert bench.ranker.predict(make(["a query", "a document"])) == want


def test_one_text(bench: Bench) -> None:
    one = bench.encoder.encode("A cat.")
    assert one.shape == (32,)
    assert np.array_equal(bench.encoder.encode(np.str_("A cat.")), one)
    assert np.array_equal(bench.encoder.encode(sentences="A cat."), one)
    with pytest.raises(UsageError, match="two names"):
        bench.encoder.encode("a", sentences="b")
    with pytest.raises(InputError, match="NoneType"):
        bench.encoder.encode()


def test_a_query_is_one_string(bench: Bench) -> None:
    for query in (None, ["a"], b"a"):
        with pytest.raises(InputError, match="query is not a string"):
            bench.ranker.rank(query, [])  # type: ignore[arg-type]


def test_batches_of_an_evaluator_may_be_a_generator_and_no_single_batch(bench: Bench) -> None:
    model = mteb.MTEBEncoder(bench.encoder)
    want = bench.encoder.encode(TEXTS)
    batches = ({"text": series([text])} for text in TEXTS)
    assert np.array_equal(model.encode(batches, **bench.keywords()), want)
    with pytest.raises(InputError, match="a mapping"):
        model.encode({"text": TEXTS}, **bench.keywords())  # type: ignore[arg-type]


def test_vectors_to_compare_are_lists_by_position_too(bench: Bench) -> None:
    vectors = bench.encoder.encode(TEXTS)
    want = bench.encoder.similarity(vectors, vectors)
    for make in LISTS.values():
        assert np.array_equal(bench.encoder.similarity(make(list(vectors)), vectors), want)
    frame = pd.DataFrame(vectors, index=[3, 2, 1, 0])
    assert np.allclose(bench.encoder.similarity(frame, vectors), want, atol=1e-6)  # its columns lie apart in memory
    for bad in (dict(enumerate(vectors)), {1.0, 2.0}, None, "text", [["a"]]):
        with pytest.raises(InputError):
            bench.encoder.similarity(bad, vectors)


# ---------------------------------------------------------------------------------------------- whole numbers


WHOLE: list[Callable[[int], Any]] = [np.int64, np.int32, np.uint8, np.array, torch.tensor]
NUMBERS: dict[str, Callable[[Bench, Any], Any]] = {
    "batch_size": lambda b, n: b.encoder.encode(TEXTS, batch_size=n),
    "chunk_size": lambda b, n: b.encoder.encode(TEXTS, chunk_size=n),
    "truncate_dim": lambda b, n: b.encoder.encode(TEXTS, truncate_dim=n),
    "truncate_dim of a query": lambda b, n: b.encoder.encode_query(TEXTS, truncate_dim=n),
    "truncate_dim of a stream": lambda b, n: list(b.encoder.encode_iter(TEXTS, truncate_dim=n)),
    "window": lambda b, n: list(b.encoder.encode_iter(TEXTS, window=n)),
    "top_k": lambda b, n: b.ranker.rank(TEXTS[0], TEXTS, top_k=n),
    "max_length": lambda b, n: b.ranker.predict(PAIRS, max_length=n),
    "batch": lambda b, n: b.encoder.benchmark(TEXTS, n, rounds=1, seconds=1e-9).batch,
    "seq_len": lambda b, n: b.fresh().compile(seq_len=n, verify="off"),
    "seq_lens": lambda b, n: b.fresh().compile(seq_len=[n], verify="off"),
    "num_cores": lambda b, n: b.fresh().compile(seq_len=8, num_cores=n, verify="off"),
    "objective": lambda b, n: b.fresh().compile(seq_len=8, num_cores=n, objective="latency", verify="off"),
    "num_devices": lambda b, n: b.fresh().compile(seq_len=8, num_devices=n, verify="off"),
    "buckets": lambda b, n: b.fresh().compile(seq_len="auto", texts=TEXTS, buckets=n, verify="off"),
    "suggested": lambda b, n: b.encoder.suggest_buckets(TEXTS, n, batch_size=n, num_cores=n),
    "recommended": lambda b, n: b.encoder.recommend(seq_len=n),
    "device_ids": lambda b, n: arguments.device_ids([n]),
    "lengths": lambda b, n: suggest_buckets([n, n], n),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_whole_numbers_of_any_library(bench: Bench, name: str) -> None:
    run = NUMBERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pairs are shortened to eight tokens
        want = run(bench, 8)
        for make in WHOLE:
            assert same(want, run(bench, make(8))), make
    for bad in (True, np.True_, torch.tensor(True), 8.0, np.float32(8), "8", b"8", [[8]], {8: 8}):
        with pytest.raises(UsageError):
            run(bench, bad)


def test_lengths_in_any_container(bench: Bench) -> None:
    want = bench.fresh().compile(seq_len=[8, 16], verify="off")
    for make in (tuple, np.array, series, iter, torch.tensor, lambda n: range(8, 17, 8)):
        assert bench.fresh().compile(seq_len=make([8, 16]), verify="off") == want
        assert len(bench.encoder.analyze(make([8, 16]), before=False, fp16=False).buckets) == 2
    for bad in ({8, 16}, {8: 16}, b"ab", pd.DataFrame({"a": [8, 16]})):
        with pytest.raises(OptionError, match=type(bad).__name__):
            bench.fresh().compile(seq_len=bad)  # type: ignore[arg-type]


def test_the_16_cores_of_a_pro_card_as_numpy_has_them(bench: Bench) -> None:
    want = bench.fresh().compile(seq_len=8, num_cores=16, objective="latency", verify="off")
    assert bench.fresh().compile(seq_len=8, num_cores=np.int64(16), objective="latency", verify="off") == want


def test_devices_are_a_list(bench: Bench) -> None:
    assert arguments.device_ids(np.array([1, 0])) == arguments.device_ids(series([1, 0])) == (1, 0)
    for bad in ({0, 1}, {0: 1}, b"01", "01", 0, None, (n for n in (0, 1))):
        with pytest.raises(OptionError, match="device_ids is "):
            arguments.device_ids(bad)  # type: ignore[arg-type]


def test_a_pool_is_refused_and_none_is_none(bench: Bench) -> None:
    want = bench.encoder.encode(inputs=TEXTS, pool=None, chunk_size=None)
    assert np.array_equal(bench.encoder.encode_document(inputs=TEXTS, pool=None, chunk_size=2), want)
    assert bench.ranker.rank("a", TEXTS, pool=None)
    for call in (bench.encoder.encode, bench.encoder.encode_query, bench.ranker.predict):
        with pytest.raises(UsageError, match="pool=dict"):
            call(TEXTS, pool={"processes": []})


def test_limits_are_numbers_of_any_library(bench: Bench) -> None:
    want = bench.encoder.verify(limits={"min_cosine": 0.5}).limits
    assert bench.encoder.verify(limits={"min_cosine": np.float32(0.5)}).limits == want
    assert bench.encoder.doctor(limits={"min_cosine": np.float32(0.5)}).to_json()
    assert bench.encoder.benchmark(TEXTS, rounds=1, seconds=np.float32(1e-9)).rows == len(TEXTS)


# ---------------------------------------------------------------------------------------------- images and clips


CLIP = TensorSpec("input_values", "float32", ("batch_size", "seq_len"))
IMAGE = TensorSpec("pixel_values", "float32", ("batch_size", 3, 2, 2))


@pytest.mark.parametrize("kind", LISTS)
def test_clips_and_images_by_position(kind: str) -> None:
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(length).astype(np.float32) for length in (5, 3, 4)]
    images = [rng.standard_normal((3, 2, 2)).astype(np.float32) for _ in range(3)]
    found = from_signals({"input_values": LISTS[kind](clips)}, [CLIP], buckets=[Shape(8)])
    assert same(list(found.columns["input_values"]), clips)
    found = from_signals({"pixel_values": LISTS[kind](images)}, [IMAGE])
    assert same(list(found.columns["pixel_values"]), images)


@pytest.mark.parametrize("spec", [CLIP, IMAGE], ids=lambda spec: spec.name)
@pytest.mark.parametrize("kind", ["set", "frozenset", "dict", "UserDict", "bytes", "object"])
def test_other_containers_of_clips_and_images_are_named(spec: TensorSpec, kind: str) -> None:
    value = REFUSED[kind]([1.0, 2.0])
    with pytest.raises(InputError, match=f"{spec.name} is (?s:.*){type(value).__name__}: "):
        from_signals({spec.name: value}, [spec], buckets=[Shape(8)])
