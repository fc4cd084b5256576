"""A program is the same whatever its caller set in torch, whatever wraps the model; nothing is printed on the way."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from QEfficient import QEFFAutoModel
from QEfficient.cache import file_digest
from QEfficient.errors import UsageError
from QEfficient.export.isolated import isolated
from QEfficient.source import loading
from QEfficient.source.loading import load
from QEfficient.source.module_kinds import unwrapped
from tests.tiny_models import tiny
from tests.tiny_repo import tiny_repo
from tests.torch_states import STATES, settings_of

pytestmark = [pytest.mark.slow, pytest.mark.own_exports]

INPUTS = {"input_ids": [[5, 6, 7, 8]], "attention_mask": [[1, 1, 1, 1]]}
TOGETHER: dict[str, Any] = {
    "those of a thread": [
        "autocast", "autocast, cuda", "a device's context", "functions", "gradients off", "vmap", "warnings"
    ],
    "those of the process": [
        "bfloat16", "deterministic", "anomaly", "matmul precision", "attention", "hooks", "seeds", "threads"
    ],
    "both": ["float64", "default device", "inference", "fake tensors", "dispatch", "gradients on"],
}  # fmt: skip


def digests(path: str) -> tuple[str, str]:
    return file_digest(Path(path)), file_digest(Path(f"{path}.data"))


def road(repo: Path) -> tuple[Any, ...]:
    """Load, export, check and run: the graph, its weights, and what torch's own model gives."""
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    found = digests(model.export())
    return (*found, model.generate(INPUTS, runtime_ai100=False)["output"].tolist())


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("caller") / "repo", layers=1)


@pytest.fixture(scope="module")
def plain(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("plain")))
        yield road(repo)


def test_all_states_are_tried() -> None:
    assert sorted(sum(TOGETHER.values(), [])) == sorted(STATES)


@pytest.mark.parametrize("names", TOGETHER.values(), ids=TOGETHER)
def test_the_program_is_the_same(names: list[str], repo: Path, plain: tuple[Any, ...]) -> None:
    outside = settings_of()
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(STATES[name]())
        before = settings_of()
        assert road(repo) == plain
        assert settings_of() == before
    assert settings_of() == outside


def test_keys_of_a_module_in_memory_are_the_same() -> None:
    model = QEFFAutoModel(tiny("bert"), pooling="mean")
    key = model._recipe(False, "on").ingredients()
    for names in TOGETHER.values():
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(STATES[name]())
            found = model._recipe(False, "on").ingredients()
        assert found == key
    model.model.train()
    assert model._recipe(False, "on").ingredients() == key
    assert key is not None and model.model.training


def test_a_load_within_no_init_weights(repo: Path, plain: tuple[Any, ...]) -> None:
    with no_init_weights():
        model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
        assert model.generate(INPUTS, runtime_ai100=False)["output"].tolist() == plain[-1]


# ---------------------------------------------------------------------------------------------- kinds of modules


def compiled_in_place(model: Any) -> Any:
    model.compile()
    return model


def compiled_part(model: Any) -> Any:
    model.encoder = torch.compile(model.encoder)
    return model


def compiled_forward(model: Any) -> Any:
    model.forward = torch.compile(model.forward)
    return model


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "torch.compile": torch.compile,
    "twice": lambda model: torch.compile(torch.nn.DataParallel(model)),
    "in place": compiled_in_place,
    "a part": compiled_part,
    "its forward": compiled_forward,
    "training": lambda model: model.train(),
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("bare")))
        yield digests(QEFFAutoModel(tiny("bert", num_hidden_layers=1), pooling="mean").export(verify="off"))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own import of its compiler
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_wrapped_model_is_the_model(wrap: Callable[[Any], Any], bare: tuple[str, str]) -> None:
    module = wrap(tiny("bert", num_hidden_layers=1))
    before = {name: type(part) for name, part in module.named_modules()}
    assert digests(QEFFAutoModel(module, pooling="mean").export(verify="off")) == bare
    assert {name: type(part) for name, part in module.named_modules()} == before


def named(name: str, base: type = nn.Module) -> type:
    """A class as another library has it."""
    path, _, last = name.rpartition(".")
    return type(last, (base,), {"__module__": path})


def with_part(part: nn.Module) -> nn.Module:
    model = tiny("bert", num_hidden_layers=1)
    model.encoder.extra = part
    return model  # type: ignore[no-any-return]


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(  # type: ignore[no-any-return, no-untyped-call, unused-ignore]
        tiny("bert", num_hidden_layers=1), {nn.Linear}, dtype=torch.qint8
    )


def traced() -> Any:
    return torch.jit.trace(tiny("bert", num_hidden_layers=1), (torch.ones(1, 4, dtype=torch.long),), strict=False)


REFUSED: dict[str, Callable[[], Any]] = {
    "TorchScript": traced,
    "compiled by TorchScript": lambda: with_part(torch.jit.script(nn.Identity())),
    "quantised by torch.ao": quantised,
    "quantised by bitsandbytes": lambda: with_part(named("bitsandbytes.nn.modules.Linear4bit", nn.Linear)(2, 2)),
    "sharded": lambda: with_part(
        named("torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel")()
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch warns of each of these kinds itself
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(what: str) -> None:
    module = REFUSED[what]()
    with pytest.raises(UsageError, match=what):
        QEFFAutoModel(module, pooling="mean")


def test_a_model_without_a_wrapper_is_itself() -> None:
    model = tiny("bert", num_hidden_layers=1)
    assert unwrapped(model) is model


# ---------------------------------------------------------------------------------------------- noise


@pytest.fixture(scope="module")
def masked_lm_repo(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a head that is not used, and no pooler, which transformers reports at length."""
    folder = tiny_repo(tmp_path_factory.mktemp("mlm") / "repo", layers=1)
    BertForMaskedLM(BertConfig.from_pretrained(repo)).save_pretrained(folder)
    return folder


QUIET = """
import os, sys
from QEfficient import QEFFAutoModel, QEFFAutoModelForMaskedLM

kind, *roads = sys.argv[1:]
for road in roads:
    backend, _, compute = road.partition(":")
    pooling = {"pooling": "auto"} if kind == "QEFFAutoModel" else {}
    model = globals()[kind].from_pretrained(os.environ["REPO"], **pooling)
    model.compile(seq_len=32, backend=backend, compute=compute or None)
    model.verify()
    model.generate({"input_ids": [[5, 6, 7]]})
    model.generate({"input_ids": [[5, 6, 7]]}, runtime_ai100=False)
if kind == "QEFFAutoModel":
    model.analyze(32)
    model.encode(["a", "b"])
    if os.fork() == 0:
        model.encode(["c", "d"])
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.mark.parametrize(
    "of, kind, roads",
    [
        ("repo", "QEFFAutoModel", ("onnxruntime", "openvino", "onnxruntime:int8")),
        ("masked_lm_repo", "QEFFAutoModel", ("onnxruntime",)),
    ],
)
def test_nothing_is_printed(
    of: str, kind: str, roads: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    env = {**os.environ, "QEFF_HOME": str(tmp_path), "REPO": str(request.getfixturevalue(of))}
    done = subprocess.run([sys.executable, "-c", QUIET, kind, *roads], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "", "")


def bars(read: Callable[[], object]) -> list[dict[str, Any]]:
    """The keywords of the bars that transformers makes meanwhile."""
    from transformers.utils import logging as transformers_logging

    made: list[dict[str, Any]] = []

    def hook(make: Callable[..., Any], arguments: Any, keywords: dict[str, Any]) -> Any:
        made.append(keywords)
        return make(*arguments, **{**keywords, "disable": True})

    before = transformers_logging.set_tqdm_hook(hook)
    try:
        read()
        assert transformers_logging.set_tqdm_hook(hook) is hook
    finally:
        transformers_logging.set_tqdm_hook(before)
    return made


def test_bars_are_drawn_for_who_watches(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads() -> object:
        return QEFFAutoModel.from_pretrained(repo, pooling="mean").model

    assert [bar.get("disable", False) for bar in bars(loads)] == [True]
    monkeypatch.setattr(loading, "is_watched", lambda: True)
    assert [bar.get("disable", False) for bar in bars(loads)] == [False]
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    assert [bar.get("disable", False) for bar in bars(loads)] == [True]


def test_a_report_is_told_when_the_load_fails() -> None:
    logger, told = logging.getLogger("transformers.modeling_utils"), logging.Handler()
    found: list[str] = []
    told.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(told)

    def reads(fails: bool) -> None:
        logger.warning("X LOAD REPORT from: %s", fails)
        if fails:
            raise RuntimeError("look at the above report")

    try:
        load(lambda: reads(False))
        assert found == []
        with pytest.raises(RuntimeError):
            load(lambda: reads(True))
        assert found == ["X LOAD REPORT from: True"]
        logger.warning("X LOAD REPORT from: %s", "elsewhere")
        assert len(found) == 2
    finally:
        logger.removeHandler(told)


def test_a_load_is_over_when_it_is_over() -> None:
    """A load within other work of ours is a plain call there."""
    logger, told = logging.getLogger("transformers.modeling_utils"), logging.Handler()
    found: list[str] = []
    told.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(told)

    def work() -> list[dict[str, Any]]:
        load(lambda: logger.warning("X LOAD REPORT from: %s", "within"))
        with suppress(LookupError):
            load(lambda: {}["nothing"])
        with loading._quiet():  # as if another thread's load were under way
            logger.warning("X LOAD REPORT from: %s", "without")
            return bars(lambda: transformers_logging.tqdm([]))

    try:
        assert isolated(work)() == [{}]
        assert found == ["X LOAD REPORT from: without"]
    finally:
        logger.removeHandler(told)


def test_weights_that_are_missing_are_filled_with_numbers_of_our_own(masked_lm_repo: Path) -> None:
    """Its pooler is: transformers draws one."""
    before = torch.get_rng_state()
    poolers = [QEFFAutoModel.from_pretrained(masked_lm_repo, pooling="mean").model.pooler for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    one, two = (pooler.dense.weight for pooler in poolers)
    assert torch.equal(one, two) and len(one.unique()) > 1


def test_the_same_vectors_as_plain_torch(repo: Path, plain: tuple[Any, ...]) -> None:
    """The value itself: HuggingFace's model called by hand, the mean taken by hand."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(repo, dtype=torch.float32).eval()
    with torch.no_grad():
        states = model(**{name: torch.tensor(value) for name, value in INPUTS.items()}).last_hidden_state
    assert np.allclose(states.mean(1).numpy(), plain[-1], atol=1e-5)


def test_models_are_loaded_in_several_threads(tmp_path: Path) -> None:
    """transformers leaves the tying of weights switched off where two loads overlap."""
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(config).save_pretrained(tmp_path / "tied")
    ties, together = PreTrainedModel.tie_weights, threading.Barrier(3)

    def tied(_: int) -> bool:
        together.wait()
        for _ in range(8):
            model = load(lambda: BertForMaskedLM.from_pretrained(tmp_path / "tied"))
            if model.cls.predictions.decoder.weight is not model.bert.embeddings.word_embeddings.weight:
                return False
        return True

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(tied, range(3)))
    assert PreTrainedModel.tie_weights is ties
