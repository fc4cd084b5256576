"""Whatever library writes, however the system refuses: one kind of error, with numbers, and nothing half-written."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

from QEfficient import QEFFAutoModel, hub
from QEfficient import program as programs
from QEfficient.build import torch_reference
from QEfficient.cache import Cache, link_or_copy
from QEfficient.cache.disk import disk_errors, refusal, write_errors
from QEfficient.cli.main import main
from QEfficient.errors import CacheError, ExportError, LoadError, TransformError
from QEfficient.numerics import precision_file
from QEfficient.onnx_transforms import apply
from QEfficient.onnx_transforms.graph_file import describe
from QEfficient.records import MODEL, GraphFacts, Manifest, Program, Shape, Target
from QEfficient.report import replace_file
from QEfficient.runtime.write_io import InferenceFiles
from tests import tiny_graphs
from tests.cache_builds import KEY, NAME, STAGE, build, leftovers
from tests.refusals import WAYS, files_up_to
from tests.tiny_repo import tiny_repo

pytestmark = pytest.mark.own_exports

NUMBERS = np.arange(4096, dtype=np.float32)


def tokenizer(path: Path) -> None:
    Tokenizer(models.WordLevel({f"word{n}": n for n in range(99)}, "word0")).save(str(path))


def graph(path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(NUMBERS, "w")
    onnx.save_model(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])), path)


def weights_of_onnx(path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(NUMBERS, "w")
    made = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))
    onnx.save_model(made, path.with_name("g.onnx"), save_as_external_data=True, location=path.name, size_threshold=0)


def weights_of_onnx_ir(path: Path) -> None:
    value = ir.Value(name="w", const_value=ir.tensor(NUMBERS))
    made = ir.Model(ir.Graph([], [], nodes=[], initializers=[value], opset_imports={"": 18}), ir_version=10)
    ir.save(made, path.with_name("g.onnx"), external_data=path.name, size_threshold_bytes=0)


def copied(path: Path) -> None:
    shutil.copyfile(__file__, path)


def numbers(path: Path) -> None:
    with open(path, "wb") as file:
        NUMBERS.tofile(file)


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("word " * 1000),
    "bytes": lambda path: path.write_bytes(bytes(5000)),
    "copy": copied,
    "numpy": numbers,
    "safetensors": lambda path: save_file({"w": NUMBERS}, path),
    "tokenizers": tokenizer,
    "onnx": graph,
    "onnx data": weights_of_onnx,
    "onnx_ir data": weights_of_onnx_ir,
    "yaml": lambda path: precision_file.write(path, fp32=[f"node{n}" for n in range(99)]),
}


@pytest.mark.parametrize("code", WAYS, ids=errno.errorcode.get)
@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_is_refused_in_the_same_words(writer: str, code: int) -> None:
    cache = Cache()
    with ExitStack() as refusing:

        def written(folder: Path) -> None:
            (folder / "before.bin").write_bytes(b"12345")
            refusing.enter_context(WAYS[code]())
            WRITERS[writer](folder / "file")
            pytest.fail("it was written")

        with pytest.raises(CacheError, match=f"The {STAGE} stage was given up") as caught:
            cache.get_or_build(NAME, STAGE, KEY, written)
    error = caught.value
    assert str(cache.home / "tmp") in str(error.got) and error.allowed and error.do
    if code != errno.EMFILE:
        assert "free there" in str(error.got) and " written before" in str(error.got)
    assert os.strerror(code) in str(error.got)
    assert {errno.EFBIG: "ulimit -f", errno.EMFILE: "ulimit -n"}[code] in str(error)
    assert not cache.entries()
    if code != errno.EMFILE:  # without a file more a folder can't be removed either: the next call does
        assert leftovers(cache.home) == []
    assert not cache.get_or_build(NAME, STAGE, KEY, build)[1]
    assert leftovers(cache.home) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/elsewhere"),
        Exception("No space left on device (os error 28)"),  # as tokenizers says it
        SafetensorError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'),
        RuntimeError("write failed: Disk quota exceeded"),
    ],
    ids=str,
)
def test_a_refusal_counts_wherever_it_stands(error: Exception, tmp_path: Path) -> None:
    """Bare, or as what led to another library's error, or to one of ours."""
    for around in (None, ValueError("?"), TransformError("Graph pass Store failed."), ExportError("refused")):
        with pytest.raises(CacheError) as caught, write_errors("Work was given up.", tmp_path):
            if around is None:
                raise error
            raise around from error
        assert str(caught.value.got).startswith(str(tmp_path))
        full = any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
        assert str(caught.value).startswith("The disk is full. ") == full
        assert caught.value.__cause__ is (around or error)


def test_what_is_no_refusal_passes_unchanged(tmp_path: Path) -> None:
    unreadable = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/models/weights.safetensors")
    failed = LoadError("transformers could not load it.")
    failed.__cause__ = unreadable
    quoted = TransformError("No space left on device, said the tool")
    for error in (
        ValueError("no"),
        unreadable,
        FileNotFoundError(2, "?", "/models/x"),
        failed,
        quoted,
        CacheError("x"),
    ):
        with pytest.raises(type(error)) as caught, write_errors("Work was given up.", tmp_path):
            raise error
        assert caught.value is error
    own = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "x"))
    assert refusal(own, tmp_path) is own


def test_advice_fits_the_place(tmp_path: Path) -> None:
    for folder, names_home in ((tmp_path / "mine", False), (Cache().home / "tmp", True)):
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO):
            with pytest.raises(CacheError) as caught, disk_errors("It was given up.", folder, needed=2_000_000_000):
                raise OSError(code, os.strerror(code))
            assert ("QEFF_HOME" in str(caught.value)) == names_home
            full = code in (errno.ENOSPC, errno.EDQUOT)
            assert ("2.00 GB needed" in str(caught.value)) == (full or code == errno.EFBIG)


# -------------------------------------------------------------------------------------------- the library's own roads


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("no-space") / "repo", layers=1)


@pytest.fixture(scope="module")
def graphs(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the exported graph and nothing else."""
    home = tmp_path_factory.mktemp("no-space-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(home))
        QEFFAutoModel.from_pretrained(repo, pooling="mean").export()
    return home


def test_an_export_without_room(repo: Path) -> None:
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    with pytest.raises(CacheError, match="The onnx stage was given up") as caught, files_up_to(100_000):
        model.export()
    assert os.strerror(errno.EFBIG) in str(caught.value.got)
    assert not Cache().entries() and leftovers(Cache().home) == []


@pytest.mark.parametrize("most", [10_000, 500_000], ids=["the joined graph", "the tokenizer"])
def test_a_compile_without_room(most: int, repo: Path, graphs: Path) -> None:
    home = Cache().home
    shutil.copytree(graphs, home, copy_function=os.link)
    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    with pytest.raises(CacheError, match="The program stage was given up") as caught, files_up_to(most):
        model.compile(seq_len=32)
    assert os.strerror(errno.EFBIG) in str(caught.value.got)
    assert [entry.stage for entry in Cache().entries()] == ["onnx"] and leftovers(home) == []


def test_a_full_folder_for_temporary_files_does_not_matter(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer that a check needs, and the graph that it runs, are written where the cache is."""
    import tempfile

    model = QEFFAutoModel.from_pretrained(repo, pooling="mean")
    recipe = model._recipe(False, "on")
    path = model.export()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    assert torch_reference.text_samples_of(recipe, describe(Path(path)), ["a text"], 8)
    assert leftovers(Cache().home) == []


def test_a_check_writes_nothing_into_a_folder_that_is_in_place(graphs: Path) -> None:
    from QEfficient.numerics.host import host_session

    (entry,) = Cache(graphs).entries()
    before = sorted(entry.path.iterdir())
    with host_session(programs.load_onnx(entry.path), Shape(32)):
        assert sorted(entry.path.iterdir()) == before


def test_a_save_without_room_names_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "0.bin").write_bytes(bytes(300_000))
    made = programs.write(
        Program(tmp_path / "made", Manifest(Target("onnxruntime"), {MODEL: GraphFacts((Shape(32),), (), (), "0.bin")}))
    )
    with pytest.raises(CacheError, match="can't be saved") as caught, files_up_to(200_000):
        programs.save(made, tmp_path / "saved")
    assert "0.3 MB needed" in str(caught.value.got) and "QEFF_HOME" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize("size", [3_000, 3_000_000])
def test_no_part_of_a_copy_is_left(size: int, tmp_path: Path) -> None:
    """A short file is written when it is closed."""
    (tmp_path / "source").write_bytes(bytes(size))
    with pytest.raises(CacheError), files_up_to(1_000):
        link_or_copy(tmp_path / "source", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_passes_from_file_to_file(tmp_path: Path) -> None:
    model = tiny_graphs.make(tmp_path / "graph")
    with pytest.raises(CacheError, match="given up"), Cache().work_folder() as work, files_up_to(10):
        apply(model, work, passes=())
    assert leftovers(Cache().home) == []


def test_written_inferences_are_whole_or_not_there(tmp_path: Path) -> None:
    files = InferenceFiles(tmp_path / "io_dir" / "now")
    files.add({"input_ids": np.zeros((1, 8), np.int64)}, {})
    with pytest.raises(CacheError, match="can't be written") as caught, files_up_to(1_000):
        files.add({"input_ids": np.zeros((1, 512), np.int64)}, {})
    assert str(files.folder) in str(caught.value.got)
    assert not files.folder.exists()


def test_a_report_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from QEfficient import report
    from QEfficient.report import html

    monkeypatch.setattr(html, "render", lambda page: "page " * 1000)
    nothing: Any = SimpleNamespace(page=lambda: None)  # what the page would be drawn from
    (tmp_path / "report.html").write_text("the old one")
    with pytest.raises(CacheError, match="report could not be written"), files_up_to(1_000):
        report.write_report(nothing, tmp_path / "report.html")
    assert [path.read_text() for path in tmp_path.glob("report*")] == ["the old one"]
    assert report.replace_file is replace_file


def test_a_download_without_room_is_no_matter_of_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("Data processing error: IO Error: No space left on device (os error 28)")  # as hf_xet does

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(LoadError, match=str(tmp_path / "hub")) as caught:
        hub.resolve("org/name", hub.Where(cache_dir=tmp_path / "hub"))
    assert "HF_HOME" in str(caught.value.do) and "network" not in str(caught.value)


def test_output_that_can_t_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as sink:
        monkeypatch.setattr(sys, "stdout", sink)
        monkeypatch.setattr(sys, "argv", ["qefficient", "cache", "ls", "--json"])
        with pytest.raises(SystemExit) as caught:
            main()
        sink.close()  # what it still holds went nowhere
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: The output can't be written: {os.strerror(errno.ENOSPC)}\n"


def test_an_error_of_the_network_is_no_matter_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConnectionError("the hub closed the connection")

    monkeypatch.setattr("QEfficient.cli.main.app", fail)
    with pytest.raises(ConnectionError, match="closed the connection"):
        main()


def test_the_words_survive_json() -> None:
    """A log that takes errors apart gets text, not an object."""
    with pytest.raises(CacheError) as caught, disk_errors("It was given up.", Path("/nowhere")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    json.dump([caught.value.what, caught.value.got, caught.value.do], io.StringIO())
