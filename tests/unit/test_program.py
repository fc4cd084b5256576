import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient import program as programs
from QEfficient.cache import FORMAT, MANIFEST, Envelope, to_json
from QEfficient.cache.envelope import _seal
from QEfficient.errors import CacheError, CorruptArtefactError, ManifestError, StaleProgramError
from QEfficient.records import (
    MODEL,
    CompileOptions,
    FileFacts,
    GraphFacts,
    Manifest,
    ModelFacts,
    OnnxModel,
    Program,
    RowRules,
    Shape,
    Target,
    TensorSpec,
    TextFacts,
    TokenInput,
)

IDS = TensorSpec("input_ids", "int64", ("batch_size", "seq_len"))
OUTPUT = TensorSpec("output", "float32", ("batch_size", 384))
MANIFEST_RECORD = Manifest(
    target=Target("qaic", "fp16", 14, 2),
    graphs={MODEL: GraphFacts((Shape(32), Shape(64)), (IDS,), (OUTPUT,), "model.onnx", binary="qpc")},
    options=CompileOptions({"mos": 1}, {"node_precision_info": Path("fp32.yaml")}, ("-x",)),
    sdk="1.20",
    text=TextFacts("tokenizer.json", 256, prompts={"query": "q: "}),
    model=ModelFacts("org/m", "BertModel", "bert", "feature-extraction", ({"step": "normalize"},), 384, "config.json"),
    key={"opset": 18},
    rules=RowRules(pads=False, more=(TokenInput("bbox", (4,), below=(1024,), boxes=True),), left_out={"langs": "why"}),
    verify={"cosine_min": 0.99999},
)
FILES = ("model.onnx", "model.onnx.data", "tokenizer.json", "config.json", "qpc/programqpc.bin")


def make(folder: Path, manifest: Manifest = MANIFEST_RECORD) -> Program:
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"content of {name}".encode())
    return programs.write(Program(folder, manifest))


@pytest.fixture
def made(tmp_path: Path) -> Program:
    return make(tmp_path / "made")


def edit(folder: Path, path: str, value: object, *, seal: bool = True) -> None:
    """Sets one field of the manifest, by dotted name, and seals it as one who knows how would."""
    raw = json.loads((folder / MANIFEST).read_text())
    *parents, name = [int(part) if part.isdigit() else part for part in path.split("/")]
    target: Any = raw
    for parent in parents:
        target = target[parent]
    if value is ...:
        del target[name]
    else:
        target[name] = value
    if seal:
        files = {name: FileFacts(**facts) for name, facts in raw["files"].items()}
        raw["seal"] = _seal(Envelope(**{**raw, "files": files}))
    (folder / MANIFEST).write_text(json.dumps(raw))


# ---------------------------------------------------------------------------------------------- round trips


def test_write_fills_files_versions_and_created(made: Program) -> None:
    manifest = made.manifest
    assert sorted(manifest.files) == sorted(FILES)
    assert manifest.created and manifest.versions["numpy"]
    assert replace(manifest, files={}, versions={}, created="") == MANIFEST_RECORD
    assert programs.load(made.path) == made
    assert programs.load(str(made.path), check=True) == made


def test_versions_that_are_given_are_kept(tmp_path: Path) -> None:
    assert make(tmp_path, replace(MANIFEST_RECORD, versions={"a": "1"})).manifest.versions == {"a": "1"}


def test_every_field_of_the_manifest_is_written(made: Program) -> None:
    body = set(json.loads((made.path / MANIFEST).read_text())["body"])
    assert body | {"key", "versions", "files", "created"} == {f.name for f in fields(Manifest)}


TEXT = st.text(max_size=8)
INTS = st.integers(0, 2**40)
SCALARS = st.none() | st.booleans() | INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda v: st.lists(v, max_size=2) | st.dictionaries(TEXT, v, max_size=2), max_leaves=5)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
SPECS = st.lists(st.builds(TensorSpec, TEXT, TEXT, st.lists(INTS | TEXT, max_size=3).map(tuple)), max_size=3).map(tuple)
SHAPES = st.sets(
    st.builds(Shape, st.integers(1, 512), st.integers(1, 8), st.dictionaries(TEXT, st.integers(1, 9))),
    min_size=1,
    max_size=4,
)
GRAPHS = st.builds(
    GraphFacts,
    shapes=SHAPES.map(lambda found: tuple(sorted(found))),
    inputs=SPECS,
    outputs=SPECS,
    onnx=st.just("model.onnx"),
    joined=st.sampled_from([None, "model.onnx"]),
    binary=st.sampled_from([None, "qpc"]),
)
MANIFESTS = st.builds(
    Manifest,
    target=st.builds(Target, TEXT, TEXT, INTS, INTS),
    graphs=st.dictionaries(TEXT, GRAPHS, min_size=1, max_size=2),
    options=st.builds(
        CompileOptions,
        OBJECTS,
        st.dictionaries(TEXT, TEXT.map(Path), max_size=2),
        st.lists(TEXT, max_size=2).map(tuple),
    ),
    sdk=st.none() | TEXT,
    text=st.none()
    | st.builds(
        TextFacts,
        tokenizer=st.sampled_from([None, "tokenizer.json"]),
        max_length=INTS,
        pad_id=INTS,
        lower_case=st.booleans(),
        prompts=st.dictionaries(TEXT, TEXT, max_size=2),
        default_prompt=st.none() | TEXT,
        truncate_dim=st.none() | INTS,
    ),
    model=st.none()
    | st.builds(
        ModelFacts,
        name=TEXT,
        model_class=TEXT,
        model_type=TEXT,
        task=TEXT,
        head=st.lists(OBJECTS, max_size=2).map(tuple),
        dim=st.none() | INTS,
        config=st.sampled_from([None, "config.json"]),
    ),
    key=OBJECTS,
    versions=st.dictionaries(TEXT, TEXT, min_size=1, max_size=2),
    verify=OBJECTS,
)


@given(MANIFESTS)
@settings(max_examples=60, deadline=None)
def test_any_manifest_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> None:
    made = make(tmp_path_factory.mktemp("any"), manifest)
    assert replace(made.manifest, files={}, created="") == manifest
    assert programs.load(made.path, check=True) == made


def test_a_moved_folder_loads(made: Program) -> None:
    moved = made.path.rename(made.path.with_name("moved"))
    assert programs.load(moved, check=True) == Program(moved, made.manifest)


def test_a_relative_folder_gives_an_absolute_path(made: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.path.parent)
    assert programs.load("made") == made


def test_onnx_folders_survive_the_disk(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    model = OnnxModel(tmp_path / "model.onnx", (IDS,), (OUTPUT,), "ab" * 32, functions=True)
    programs.write_onnx(model, key={"a": 1}, versions={"onnx": "1"})
    assert programs.load_onnx(tmp_path, check=True) == model
    with pytest.raises(ManifestError, match="stage"):
        programs.load(tmp_path)


# ---------------------------------------------------------------------------------------------- bad manifests


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every field that has a declared type, by path."""
    yield "/".join(path), value
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, str(index)))


GRAPH = "graphs/model"
FREE = ("flags", "head", "verify", "key")  # JSON without a declared type
TYPED = [
    path
    for path, _ in leaves(
        {name: value for name, value in to_json(MANIFEST_RECORD).items() if name not in programs._OF_ENVELOPE}
    )
    if path and not any(name in path.split("/")[:-1] for name in FREE)
]


@pytest.mark.parametrize("path", TYPED)
def test_a_field_of_the_wrong_type_is_named(path: str, made: Program) -> None:
    edit(made.path, f"body/{path}", 1.5)
    with pytest.raises(ManifestError) as caught:
        programs.load(made.path)
    name = next(part for part in reversed(path.split("/")) if not part.isdigit())
    assert name in str(caught.value.got) and caught.value.allowed and caught.value.do


@pytest.mark.parametrize(
    "path",
    [
        "target",
        "target/cores",
        "graphs",
        f"{GRAPH}/shapes/0/sizes",
        f"{GRAPH}/onnx",
        "text/pad_id",
        "int8",
        "rules/more",
    ],
)
def test_a_missing_field_is_named_though_it_has_a_default(path: str, made: Program) -> None:
    edit(made.path, f"body/{path}", ...)
    with pytest.raises(ManifestError, match="lacks a field") as caught:
        programs.load(made.path)
    assert path.rpartition("/")[2] in str(caught.value.got)


@pytest.mark.parametrize(
    "path", ["surprise", "target/surprise", f"{GRAPH}/surprise", f"{GRAPH}/shapes/1/surprise", "model/surprise"]
)
def test_an_unknown_field_is_named(path: str, made: Program) -> None:
    edit(made.path, f"body/{path}", 1)
    with pytest.raises(ManifestError, match="surprise"):
        programs.load(made.path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("target/cores", True),
        ("target/cores", "16"),
        ("sdk", 1),
        ("graphs", {}),
        (f"{GRAPH}/inputs/0/shape", ["batch_size", True]),
        (f"{GRAPH}/shapes", []),
        (f"{GRAPH}/shapes/0/sizes/seq_len", 0),
        (f"{GRAPH}/shapes/0/sizes/seq_len", 64),
        (f"{GRAPH}/shapes/0/sizes/seq_len", 128),
        (f"{GRAPH}/shapes/1/sizes/batch_size", -1),
        (f"{GRAPH}/onnx", "other.onnx"),
        (f"{GRAPH}/onnx", "../model.onnx"),
        ("text/tokenizer", "/etc/passwd"),
        ("model/config", "missing.json"),
        (f"{GRAPH}/binary", "elsewhere"),
        (f"{GRAPH}/binary", ".."),
        (f"{GRAPH}/binary", ""),
    ],
)
def test_a_manifest_that_contradicts_itself_names_the_field(path: str, value: object, made: Program) -> None:
    edit(made.path, f"body/{path}", value)
    with pytest.raises(ManifestError) as caught:
        programs.load(made.path)
    assert path.split("/")[0] in str(caught.value.got)


@pytest.mark.parametrize("path", ["text/pad_id", "text/max_length", "target/cores", f"{GRAPH}/shapes/1/sizes/seq_len"])
def test_an_edit_that_keeps_the_types_is_refused(path: str, made: Program) -> None:
    edit(made.path, f"body/{path}", 100, seal=False)
    with pytest.raises(ManifestError, match="changed after it was written"):
        programs.load(made.path)


def test_another_format_is_stale_with_the_models_name(made: Program) -> None:
    edit(made.path, "format", 99)
    with pytest.raises(StaleProgramError, match="org/m"):
        programs.load(made.path)


def test_a_program_of_the_last_format_names_both_and_the_line_that_recompiles(made: Program) -> None:
    bucket = {"length": 32, "batch": 1, "length_dim": "seq_len", "batch_dim": "batch_size"}
    for path, value in (
        ("body/graphs", ...),
        ("body/buckets", [bucket]),
        ("body/onnx", "model.onnx"),
        ("format", FORMAT - 1),
    ):
        edit(made.path, path, value)
    with pytest.raises(StaleProgramError) as caught:
        programs.load(made.path)
    assert f"format {FORMAT - 1}, made by QEfficient" in str(caught.value.got)
    assert caught.value.allowed == f"format {FORMAT}"
    assert caught.value.do == 'compile it again: QEFFAutoModel.from_pretrained("org/m").compile()'


def test_a_manifest_that_contradicts_the_folder_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no.onnx"):
        make(tmp_path, replace(MANIFEST_RECORD, graphs={MODEL: replace(MANIFEST_RECORD.graph, onnx="no.onnx")}))


@pytest.mark.parametrize("name", FILES)
def test_truncated_and_altered_files_are_corrupt(name: str, made: Program) -> None:
    path = made.path / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    programs.load(made.path)
    with pytest.raises(CorruptArtefactError, match=name):
        programs.load(made.path, check=True)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptArtefactError, match=name):
        programs.load(made.path)


# ---------------------------------------------------------------------------------------------- save


def test_save_copies_what_the_manifest_lists(made: Program, tmp_path: Path) -> None:
    (made.path / "unlisted").write_bytes(b"1")
    dest = tmp_path / "new" / "deep"
    saved = programs.save(made, dest)
    assert saved == Program(dest, made.manifest) == programs.load(dest, check=True)
    assert sorted(str(f.relative_to(dest)) for f in dest.rglob("*") if f.is_file()) == sorted([*FILES, MANIFEST])
    assert (dest / "model.onnx").stat().st_ino != (made.path / "model.onnx").stat().st_ino
    assert os.listdir(dest.parent) == ["deep"]


def test_save_replaces_a_program_and_fills_an_empty_folder(made: Program, tmp_path: Path) -> None:
    other = make(tmp_path / "other", replace(MANIFEST_RECORD, sdk="2"))
    (tmp_path / "empty").mkdir()
    for dest in (other.path, tmp_path / "empty"):
        assert programs.save(made, dest).manifest == made.manifest
    assert sorted(os.listdir(tmp_path)) == ["empty", "made", "other"]


def test_save_onto_itself_or_a_copy_changes_nothing(made: Program, tmp_path: Path) -> None:
    copy = programs.save(made, tmp_path / "copy")
    (copy.path / "README.md").write_text("the user's own")
    inode = (copy.path / "model.onnx").stat().st_ino
    assert programs.save(made, copy.path) == copy and programs.save(made, made.path) == made
    assert (copy.path / "model.onnx").stat().st_ino == inode and (copy.path / "README.md").exists()


def test_save_over_a_damaged_copy_repairs_it(made: Program, tmp_path: Path) -> None:
    copy = programs.save(made, tmp_path / "copy")
    (copy.path / "model.onnx").write_bytes(b"spoilt")
    assert programs.load(programs.save(made, copy.path).path, check=True) == copy


def file_in_the_way(dest: Path) -> None:
    dest.write_text("x")


def foreign_folder(dest: Path) -> None:
    dest.mkdir()
    (dest / "thesis.txt").write_text("x")


def program_with_foreign_file(dest: Path) -> None:
    make(dest, replace(MANIFEST_RECORD, sdk="2"))
    (dest / "thesis.txt").write_text("x")


def link_to_a_folder(dest: Path) -> None:
    dest.with_name("elsewhere").mkdir()
    dest.symlink_to("elsewhere")


@pytest.mark.parametrize("prepare", [file_in_the_way, foreign_folder, program_with_foreign_file, link_to_a_folder])
def test_save_never_replaces_anything_else(prepare: Callable[[Path], None], made: Program, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    prepare(dest)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CacheError) as caught:
        programs.save(made, dest)
    assert str(dest) in str(caught.value) and caught.value.allowed and caught.value.do
    assert sorted(tmp_path.rglob("*")) == before


def test_save_into_the_programs_own_folder_is_refused(made: Program) -> None:
    for dest in (made.path / "inside", made.path.parent):
        with pytest.raises(CacheError):
            programs.save(made, dest)


def test_save_refuses_a_program_that_was_altered_and_leaves_nothing(made: Program, tmp_path: Path) -> None:
    (made.path / "model.onnx").write_bytes(b"content of model.onnX")
    (made.path / "model.onnx").write_bytes(b"CONTENT of model.onnx")
    with pytest.raises(CorruptArtefactError, match=r"model\.onnx"):
        programs.save(made, tmp_path / "dest")
    assert os.listdir(tmp_path) == ["made"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync"])
def test_save_on_a_disk_that_fails_leaves_the_old_program(
    call: str, code: int, made: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(tmp_path / "old", replace(MANIFEST_RECORD, sdk="2"))

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(CacheError, match=os.strerror(code)):
            programs.save(made, old.path)
    assert programs.load(old.path, check=True) == old
    assert sorted(os.listdir(tmp_path)) == ["made", "old"]


def test_the_old_program_comes_back_when_the_new_one_cannot_take_its_place(
    made: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(tmp_path / "old", replace(MANIFEST_RECORD, sdk="2"))
    rename = os.rename

    def once(src: Path, dst: Path) -> None:
        if Path(src).name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(src, dst)

    monkeypatch.setattr(os, "rename", once)
    with pytest.raises(CacheError):
        programs.save(made, old.path)
    assert programs.load(old.path, check=True) == old


def test_what_a_killed_save_left_is_swept_by_the_next(made: Program, tmp_path: Path) -> None:
    left = tmp_path / ".dest.saving-0123"
    left.mkdir()
    left.with_name(f"{left.name}.lock").touch()
    programs.save(made, tmp_path / "dest")
    assert sorted(os.listdir(tmp_path)) == ["dest", "made"]


# ---------------------------------------------------------------------------------------------- light and fast


def test_loading_imports_nothing_heavy(made: Program) -> None:
    script = f"""
import sys
from QEfficient import program
program.load({str(made.path)!r}, check=True)
heavy = "torch transformers onnx onnx_ir huggingface_hub numpy filelock".split()
print([name for name in heavy if name in sys.modules])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_takes_less_than_ten_milliseconds(made: Program) -> None:
    times = []
    for _ in range(20):
        started = time.perf_counter()
        programs.load(made.path)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.01
