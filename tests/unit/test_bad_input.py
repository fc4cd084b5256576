"""Bad input, one line a kind: what, the value, what is allowed, what to do; and nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from QEfficient import QEFFAutoModel
from QEfficient import errors as e
from tests.sdk import make_sdk
from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.own_exports


@dataclass
class Bench:
    """What a case works on: a model's repo, the same model compiled, a saved program, and a scratch folder."""

    repo: Path
    model: QEFFAutoModel
    saved: Path
    scratch: Path
    patch: pytest.MonkeyPatch

    def fresh(self, **kw: Any) -> QEFFAutoModel:
        return QEFFAutoModel.from_pretrained(self.repo, **{"pooling": "mean"} | kw)

    def copy(self) -> Path:
        return Path(shutil.copytree(self.saved, self.scratch / "copy"))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> Path:
        folder = self.copy()
        file = folder / "qefficient.json"
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(json.dumps(manifest))
        return folder


IDS = np.array([[101, 2026, 102]])
ONES = np.ones_like(IDS)


def generate(**inputs: Any) -> Callable[[Bench], Any]:
    return lambda b: b.model.generate({"input_ids": IDS, "attention_mask": ONES} | inputs)


def compiling(**keywords: Any) -> Callable[[Bench], Any]:
    return lambda b: b.fresh().compile(**keywords)


def nan_weights(b: Bench) -> Any:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(b.repo)
    model.encoder.layer[0].output.dense.weight.data[0, 0] = float("nan")
    QEFFAutoModel(model, pooling="mean").compile()


def truncated(b: Bench) -> Any:
    folder = b.copy()
    weights = next(folder.glob("*.data*"))
    weights.write_bytes(weights.read_bytes()[:-64])
    QEFFAutoModel.from_pretrained(folder)


def no_manifest_field(b: Bench) -> Any:
    return QEFFAutoModel.from_pretrained(b.edit(lambda m: m.pop("files")))


def other_format(b: Bench) -> Any:
    return QEFFAutoModel.from_pretrained(b.edit(lambda m: m.update(format=999)))


def data_outside(b: Bench) -> Any:
    """A program that was sealed with graphs whose weights stand beside its folder."""
    import onnx

    from QEfficient import program as programs

    folder = b.copy()
    program = programs.load(folder)
    (b.scratch / "secret.data").write_bytes(next(folder.glob("*.data*")).read_bytes())
    for path in folder.glob("*.onnx"):
        graph = onnx.load(path, load_external_data=False)
        for tensor in graph.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = "../secret.data"
        onnx.save(graph, path)
    (folder / "qefficient.json").unlink()
    programs.write(program)
    QEFFAutoModel.from_pretrained(folder).encode("a text")


def ignores_mask(b: Bench) -> Any:
    return b.fresh(pooling=lambda states, mask: states.mean(1)).compile()


def raised_limit(b: Bench) -> Any:
    folder = shutil.copytree(b.repo, b.scratch / "short")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))
    b.patch.setenv("QEFF_HOME", str(b.scratch / "home"))
    model = _compiled(QEFFAutoModel.from_pretrained(folder, pooling="mean"), verify="off")
    model.max_seq_length = 64
    return model.encode("a text")


def altered(b: Bench) -> Any:
    folder = b.copy()
    weights = next(folder.glob("*.data*"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(bytes(content))
    return QEFFAutoModel.from_pretrained(folder, check=True)


def other_sdk(b: Bench) -> Any:
    sdk = make_sdk(b.scratch / "sdk")
    b.patch.setenv("QEFF_QAIC_SDK", str(sdk.root))
    b.patch.setenv("QEFF_HOME", str(b.scratch / "home"))
    model = b.fresh()
    model.compile(seq_len=32, verify="off")
    saved = model.save_pretrained(b.scratch / "card")
    sdk.set_version("9.9.9")
    QEFFAutoModel.from_pretrained(saved).encode("a text")


def full_disk(b: Bench) -> Any:
    def write(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    b.patch.setenv("QEFF_HOME", str(b.scratch / "home"))
    b.patch.setattr("os.fsync", write)
    b.fresh().compile()


def read_only_cache(b: Bench) -> Any:
    home = b.scratch / "file-in-the-way"
    home.write_text("not a folder")
    b.patch.setenv("QEFF_HOME", str(home))
    b.fresh().compile()


def keywords_on_saved(**keywords: Any) -> Callable[[Bench], Any]:
    return lambda b: QEFFAutoModel.from_pretrained(b.saved, **keywords)


def torch_run_of_saved(b: Bench) -> Any:
    return _saved(b).generate({"input_ids": IDS}, runtime_ai100=False)


def token_vectors(b: Bench) -> Any:
    return b.model.encode("a", output_value="token_embeddings")


def card_device_on_host(b: Bench) -> Any:
    return b.model.generate({"input_ids": IDS}, device_ids=[0])


CASES: list[tuple[str, Callable[[Bench], Any], type[e.QEfficientError], str]] = [
    # inputs of generate
    ("float ids", generate(input_ids=IDS.astype(np.float32)), e.InputError, "float32"),
    ("no ids", lambda b: b.model.generate({"attention_mask": ONES}), e.InputError, "input_ids"),
    ("unknown input name", generate(attention_msk=ONES), e.InputError, "attention_mask"),
    ("position ids", generate(position_ids=IDS), e.InputError, "position_ids"),
    ("one row without the row dim", generate(input_ids=IDS[0], attention_mask=ONES[0]), e.InputError, "(3,)"),
    ("mask of another shape", generate(attention_mask=np.ones((1, 2), int)), e.InputError, "(1, 2)"),
    ("mask of fives", generate(attention_mask=ONES * 5), e.InputError, "0 and 1"),
    ("a fully masked row", generate(attention_mask=ONES * 0), e.InputError, "0"),
    ("negative ids", generate(input_ids=-IDS), e.InputError, "negative"),
    ("ragged lists", generate(input_ids=[[1, 2], [1]]), e.InputError, "equal length"),
    ("no inputs at all", lambda b: b.model.generate(None), e.InputError, "NoneType"),
    ("a string to generate", lambda b: b.model.generate("text"), e.InputError, "str"),
    (
        "too long a row",
        generate(input_ids=np.ones((1, 65), int), attention_mask=np.ones((1, 65), int)),
        e.InputError,
        "65 tokens",
    ),
    ("an integer result dtype", lambda b: b.model.generate({"input_ids": IDS}, dtype="int8"), e.InputError, "int8"),
    ("no devices", lambda b: b.model.generate({"input_ids": IDS}, device_ids=[]), e.QEfficientError, "[]"),
    ("a device that is no list", lambda b: b.model.generate({"input_ids": IDS}, device_ids=0), e.OptionError, "0"),
    ("a card's device on the host", card_device_on_host, e.QEfficientError, "[0]"),
    # texts
    ("None to encode", lambda b: b.model.encode(None), e.InputError, "NoneType"),
    ("None among texts", lambda b: b.model.encode(["a", None]), e.InputError, "Row 1"),
    ("bytes to encode", lambda b: b.model.encode(b"a"), e.InputError, "bytes"),
    ("overlong text refused", lambda b: b.model.encode("word " * 99, overlong="error"), e.InputError, "101"),
    ("unknown overlong", lambda b: b.model.encode("a", overlong="crop"), e.UsageError, "crop"),
    ("unknown prompt", lambda b: b.model.encode("a", prompt_name="qurey"), e.UsageError, "query"),
    ("truncate_dim past the vector", lambda b: b.model.encode("a", truncate_dim=33), e.UsageError, "33"),
    ("a text that fits no bucket", lambda b: _short_buckets(b).encode("word " * 50), e.InputError, "32"),
    ("token vectors of a pooled program", token_vectors, e.UsageError, "pooling=None"),
    ("encode without pooling", lambda b: _compiled(b.fresh(pooling=None)).encode("a"), e.UsageError, 'pooling="auto"'),
    ("encode before compile", lambda b: b.fresh().encode("a"), e.UsageError, "compile()"),
    ("max_seq_length past the model", lambda b: setattr(b.fresh(), "max_seq_length", 65), e.InputError, "64"),
    # loading
    ("no such folder", lambda b: QEFFAutoModel.from_pretrained(b.repo / "typo"), e.LoadError, "typo"),
    ("a hub id, offline", lambda b: QEFFAutoModel.from_pretrained("nobody/nothing"), e.LoadError, "nobody/nothing"),
    ("unknown pooling", lambda b: b.fresh(pooling="meen"), e.PoolingError, "'mean'"),
    ("a pooling number", lambda b: b.fresh(pooling=3), e.PoolingError, "3"),
    ("another pooling on a saved program", keywords_on_saved(pooling="max"), e.PoolingError, "max"),
    ("load keywords on a saved program", keywords_on_saved(dtype="float16"), e.UsageError, "dtype"),
    ("another attention", lambda b: b.fresh(attn_implementation="sdpa"), e.UsageError, "sdpa"),
    ("not a model", lambda b: QEFFAutoModel("bert-base-uncased"), e.UsageError, "from_pretrained"),
    ("to a device", lambda b: b.model.to("cuda"), e.UsageError, "cuda"),
    # compile
    ("no seq_len", compiling(seq_len=[]), e.OptionError, "[]"),
    ("negative seq_len", compiling(seq_len=-1), e.OptionError, "-1"),
    ("float seq_len", compiling(seq_len=32.0), e.OptionError, "32.0"),
    ("seq_len past the model", compiling(seq_len=128), e.OptionError, "64"),
    ("zero batch", compiling(batch_size=0), e.OptionError, "batch_size=0"),
    ("True cores", compiling(num_cores=True), e.OptionError, "num_cores=True"),
    ("a misspelt keyword of compile", compiling(num_core=2), e.OptionError, "'num_cores'"),
    ("a length for a path", lambda b: b.fresh().compile(32), e.UsageError, "seq_len"),
    ("None for a model", lambda b: QEFFAutoModel.from_pretrained(None), e.UsageError, "hub id"),
    ("a pooling that ignores the mask", ignores_mask, e.NumericsError, "pooling function"),
    ("max_seq_length raised after compile", raised_limit, e.UsageError, "compile() again"),
    ("altered weights, checked", altered, e.CorruptArtefactError, "model.onnx"),
    ("unknown keyword", compiling(num_corse=2), e.OptionError, "num_corse"),
    ("mistyped compiler flag", compiling(aic_enable_depth_frst=True), e.OptionError, "aic_enable_depth_first"),
    ("flag out of range", compiling(aic_depth_first_mem=99), e.OptionError, "99"),
    ("an option's file is missing", compiling(node_precision_info="/nowhere.yaml"), e.OptionError, "/nowhere.yaml"),
    ("unknown backend", compiling(backend="onnxruntim"), e.UnknownBackendError, "onnxruntime"),
    ("a backend that is not there", compiling(backend="qaic"), e.BackendUnavailableError, "SDK"),
    ("unknown compute", compiling(compute="fp8"), e.OptionError, "fp8"),
    ("unknown verify", compiling(verify="maybe"), e.OptionError, "maybe"),
    ("QNN", compiling(enable_qnn=True), e.NotYetSupportedError, "enable_qnn"),
    ("a missing ONNX file", compiling(onnx_path="/nowhere.onnx"), e.UsageError, "/nowhere.onnx"),
    ("NaN weights", nan_weights, e.NumericsError, "least nan"),
    # artefacts
    ("truncated weights", truncated, e.CorruptArtefactError, "model.onnx"),
    ("a manifest without files", no_manifest_field, e.ManifestError, "files"),
    ("another manifest format", other_format, e.StaleProgramError, "999"),
    ("external data outside the folder", data_outside, e.CorruptArtefactError, "External"),
    ("another SDK version", other_sdk, e.StaleProgramError, "9.9.9"),
    ("full disk", full_disk, e.CacheError, "No space left"),
    ("a cache that can't be written", read_only_cache, e.CacheError, "file-in-the-way"),
    ("a saved program elsewhere", keywords_on_saved(backend="moon"), e.UnknownBackendError, "moon"),
    # a saved program has no torch model
    ("torch run of a saved program", torch_run_of_saved, e.UsageError, "saved program"),
    ("model of a saved program", lambda b: _saved(b).model, e.UsageError, "saved program"),
    ("compile a saved program", lambda b: _saved(b).compile(), e.UsageError, "saved program"),
]  # fmt: skip


def _compiled(model: QEFFAutoModel, **keywords: Any) -> QEFFAutoModel:
    model.compile(**keywords)
    return model


def _short_buckets(b: Bench) -> QEFFAutoModel:
    return _compiled(b.fresh(), seq_len=32)


def _saved(b: Bench) -> QEFFAutoModel:
    return QEFFAutoModel.from_pretrained(b.saved)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, QEFFAutoModel, Path, Path]]:
    home = tmp_path_factory.mktemp("home")
    repo = tiny_repo(tmp_path_factory.mktemp("repo"), layers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        model = _compiled(QEFFAutoModel.from_pretrained(repo, pooling="mean"))
        # What cases compile on their way to the error; here, so that a case leaves nothing new in the cache.
        _compiled(QEFFAutoModel.from_pretrained(repo, pooling="mean"), seq_len=32)
        _compiled(QEFFAutoModel.from_pretrained(repo, pooling=None))
        saved = Path(model.save_pretrained(tmp_path_factory.mktemp("saved") / "program"))
    yield repo, model, saved, home


def artefacts(home: Path) -> list[str]:
    """Every file below the cache but its locks and remembered digests."""
    kept = {"locks", "digests"}
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.relative_to(home).parts[0] not in kept)


@pytest.mark.parametrize(("case", "kind", "word"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_input_is_explained_and_leaves_nothing_behind(
    prepared: tuple[Path, QEFFAutoModel, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: Callable[[Bench], Any],
    kind: type[e.QEfficientError],
    word: str,
) -> None:
    repo, model, saved, home = prepared
    monkeypatch.setenv("QEFF_HOME", str(home))
    before = artefacts(home)
    with pytest.raises(kind) as caught:
        case(Bench(repo, model, saved, tmp_path, monkeypatch))
    error = caught.value
    assert word in str(error)
    assert error.what and error.got is not None and error.allowed and error.do
    monkeypatch.undo()
    assert artefacts(home) == before


def test_there_are_at_least_thirty_kinds() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 30
