"""Artefacts that may never be kept."""

from pathlib import Path

import pytest

from QEfficient.cache import Cache, trial_cache, write_envelope

KEY = {"made of": "this"}


def builder(folder: Path) -> None:
    (folder / "weights").write_bytes(b"1234")
    write_envelope(folder, stage="onnx", key=KEY, versions={}, body={})


def never(folder: Path) -> None:
    raise AssertionError("it is there")


def test_nothing_of_a_trial_stays(tmp_path: Path) -> None:
    base = Cache(tmp_path)
    with trial_cache(base) as trial:
        made, hit = trial.get_or_build("model", "onnx", KEY, builder)
        assert not hit and (made / "weights").read_bytes() == b"1234"
        assert trial.get_or_build("model", "onnx", KEY, never) == (made, True)
        assert base.entries() == ()
    assert base.entries() == () and not made.exists()


def test_what_is_adopted_stays_and_is_found(tmp_path: Path) -> None:
    base = Cache(tmp_path)
    with trial_cache(base) as trial:
        trial.get_or_build("model", "onnx", KEY, builder)
        base.adopt(trial, "program")
        assert base.entries() == ()
        base.adopt(trial, "onnx")
    found, hit = base.get_or_build("model", "onnx", KEY, never)
    assert hit and (found / "weights").read_bytes() == b"1234"
    with trial_cache(base) as trial:
        assert trial.get_or_build("model", "onnx", KEY, never) == (found, True)
        base.adopt(trial, "onnx")


def test_what_failed_leaves_nothing(tmp_path: Path) -> None:
    base = Cache(tmp_path)
    with pytest.raises(AssertionError), trial_cache(base) as trial:
        trial.get_or_build("model", "onnx", KEY, never)
    assert base.entries() == () and not list((tmp_path / "tmp").iterdir())
