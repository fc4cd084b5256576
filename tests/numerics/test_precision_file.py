"""Node-precision files: what is written is read again, by us and by the card's compiler; bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from QEfficient.errors import OptionError
from QEfficient.numerics.precision_file import PrecisionFile, check_names, read, write

names = st.frozensets(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1), max_size=6)


@settings(max_examples=60, deadline=None)
@given(fp16=names, fp32=names)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, fp16: set, fp32: set) -> None:
    path = tmp_path_factory.getbasetemp() / "precision.yaml"
    write(path, fp32=fp32 - fp16, fp16=fp16)
    assert read(path) == PrecisionFile(frozenset(fp16), frozenset(fp32 - fp16))
    keys = {"FP16NodeInstanceNames": fp16, "FP32NodeInstanceNames": fp32 - fp16}
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {key: set(found.get(key, ())) for key in keys} == keys


def test_both_forms_of_lists_and_comments_are_read(tmp_path: Path) -> None:
    path = tmp_path / "precision.yaml"
    path.write_text(
        "# from the vendor's own example\nFP16NodeInstanceNames: [node_a, /layer/Add_output_0,\n  val_3]\n"
        "FP32NodeInstanceNames:\n- 417\n- 'node: b'\n- 1e5\n- no\n"
    )
    found = read(path)
    assert found.fp16 == {"node_a", "/layer/Add_output_0", "val_3"}
    assert found.fp32 == {"417", "node: b", "1e5", "no"}  # names are text, whatever YAML might make of them


def test_reading_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(f"FP32NodeInstanceNames: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]")
    assert read(path).fp32 == {str(tmp_path / "made")}
    assert not (tmp_path / "made").exists()


def test_the_order_of_names_does_not_change_the_file(tmp_path: Path) -> None:
    write(tmp_path / "a", fp32=["x", "y", "x"])
    write(tmp_path / "b", fp32=("y", "x"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_text() == "FP32NodeInstanceNames:\n- x\n- y\n"


@pytest.mark.parametrize("text", ["", "{}", "FP32NodeInstanceNames:\n", "FP32NodeInstanceNames: []\n"])
def test_an_empty_file_names_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "f").write_text(text)
    assert read(tmp_path / "f") == PrecisionFile()


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("[a, b]", "a list"),
        ("FP32NodeInstanceName: [a]", "Did you mean 'FP32NodeInstanceNames'"),
        ("FP32NodeInstanceNames: a", "is a str"),
        ("FP32NodeInstanceNames: [[a]]", "holds what is no name"),
        ("FP32NodeInstanceNames: [a\n", "while parsing"),
        ("FP32NodeInstanceNames: [b, a]\nFP16NodeInstanceNames: [c, a]", "a in both lists"),
    ],
)
def test_a_bad_file_is_refused_and_named(tmp_path: Path, text: str, got: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(OptionError, match="bad.yaml") as caught:
        read(path)
    assert got in str(caught.value)


def test_a_missing_file_and_a_name_in_both_lists_are_errors(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(OptionError, match="x in both lists"):
        write(tmp_path / "f", fp32=["x"], fp16=["x"])
    assert not (tmp_path / "f").exists()


def test_a_name_of_no_node_is_an_error_with_the_nearest() -> None:
    check_names(["query", "key"], ["query", "key", "value"], "f.yaml")
    with pytest.raises(OptionError, match=r"f.yaml names .*'qvery'. Did you mean 'query'"):
        check_names(["qvery", "key"], ["query", "key"], "f.yaml")
