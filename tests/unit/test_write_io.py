"""The raw files and the JSON that the SDK's runner reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from QEfficient.backends.base import Arrays
from QEfficient.runtime.write_io import InferenceFiles, as_carried


def write(folder: Path, *inferences: tuple[Arrays, Arrays]) -> Path:
    files = InferenceFiles(folder)
    for inputs, outputs in inferences:
        files.add(inputs, outputs)
    return files.close()


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    ids = np.arange(6, dtype=np.int64).reshape(2, 3)
    inputs = {"input_ids": ids, "attention_mask": np.asfortranarray(ids + 1)}
    outputs = {"output": np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4), "scale": np.float32(2)}
    path = write(tmp_path / "io", (inputs, {name: np.asarray(array) for name, array in outputs.items()}))
    (entries,) = json.loads(path.read_text())["IO-files"]
    assert [entry["map-to"] for entry in entries] == ["input_ids", "attention_mask", "output", "scale"]
    for entry in entries:
        direction = "in" if entry["map-to"] in inputs else "out"
        array = np.asarray((inputs | outputs)[entry["map-to"]])
        raw = (path.parent / entry["path"]).read_bytes()
        assert entry["io-direction"] == direction and entry["elem-size"] == array.dtype.itemsize
        assert np.array_equal(np.frombuffer(raw, array.dtype).reshape(entry["dims"]), array.reshape(entry["dims"]))
    assert entries[-1]["dims"] == [1]


def test_the_form_is_the_runners(tmp_path: Path) -> None:
    path = write(tmp_path, ({"input_ids": np.zeros((1, 128), np.int64)}, {}))
    assert json.loads(path.read_text()) == {
        "IO-files": [
            [
                {
                    "path": "input_ids-0.raw",
                    "io-direction": "in",
                    "elem-size": 8,
                    "map-to": "input_ids",
                    "dims": [1, 128],
                }
            ]
        ]
    }


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    path = write(tmp_path, ({"a/b": np.zeros(1), "x": np.zeros(1)}, {"x": np.ones(1), "../y": np.ones(1)}))
    (entries,) = json.loads(path.read_text())["IO-files"]
    files = [entry["path"] for entry in entries]
    assert len(set(files)) == 4 and all((tmp_path / name).is_file() and "/" not in name for name in files)


def test_each_inference_has_its_own_files(tmp_path: Path) -> None:
    path = write(tmp_path, *(({"input_ids": np.full((1, 8), n)}, {"output": np.full((1, 2), n)}) for n in range(3)))
    inferences = json.loads(path.read_text())["IO-files"]
    assert len(inferences) == 3
    for number, entries in enumerate(inferences):
        assert all((np.fromfile(tmp_path / entry["path"], np.int64) == number).all() for entry in entries)
    assert json.loads(InferenceFiles(tmp_path / "none").close().read_text()) == {"IO-files": []}


def test_arrays_have_the_dtypes_that_the_device_has_them_in() -> None:
    """Inputs as well as outputs, whatever their kind; what custom I/O says nothing of stays as it is."""

    class Session:
        carried = {"pixel_values": "float16", "ids": "int32", "vectors": "float16"}

    session: Any = Session()
    inputs: Arrays = {"pixel_values": np.full((1, 3), 1 / 3, np.float32), "ids": np.array([[7]]), "mask": np.array([1])}
    outputs: Arrays = {"vectors": np.float32([[0.1, 65504.0]]), "tokens": np.float32([[0.1]])}
    found: list[Arrays] = []
    as_carried(session, lambda *arrays: found.extend(arrays))(inputs, outputs)
    kinds = {name: str(array.dtype) for arrays in found for name, array in arrays.items()}
    assert kinds == Session.carried | {"mask": "int64", "tokens": "float32"}
    assert np.array_equal(found[0]["pixel_values"], np.full((1, 3), 1 / 3, np.float16)) and found[0]["ids"][0, 0] == 7
    plain: Any = object()  # a host's session carries what it is given
    as_carried(plain, lambda *arrays: found.extend(arrays))(inputs, outputs)
    assert found[2] is inputs and found[3] is outputs
