"""The digest is equal for equal rows, whatever they came in, and differs where any value does."""

from __future__ import annotations

import io
import sys
import wave
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from QEfficient.errors import InputError
from QEfficient.evaluate.data import load_clip, read_examples, rgb_image, subset
from tests.evaluate.data_cases import SOURCES

FIXED = "81a0afb6"  # of two rows, so that a change of the encoding is seen: digests stand in saved programs

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # a failure is small enough as it is; shrinking takes minutes

TEXTS = st.text(min_size=1, max_size=12).filter(str.strip)
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=5)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
SENTENCES = st.lists(st.tuples(WORDS, st.integers(0, 8)), min_size=1, max_size=4)
ROWS: dict[str, st.SearchStrategy[list[dict[str, Any]]]] = {
    "similarity": st.lists(
        st.fixed_dictionaries({"sentence1": TEXTS, "sentence2": TEXTS, "score": NUMBERS}), min_size=1, max_size=5
    ),
    "text-classification": st.lists(
        st.fixed_dictionaries({"text": TEXTS, "label": st.integers(0, 2**31)}), min_size=1, max_size=5
    ),
    "token-classification": st.lists(
        SENTENCES.map(lambda pairs: {"tokens": [word for word, _ in pairs], "tags": [tag for _, tag in pairs]}),
        min_size=1,
        max_size=5,
    ),
}


def digest(columns: dict[str, Any], task: str) -> str:
    return read_examples(columns, task).digest


@pytest.mark.parametrize("task", ROWS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=PHASES)
def test_equal_rows_have_equal_digests_whatever_they_came_in(task: str, data: st.DataObject) -> None:
    rows = data.draw(ROWS[task])
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    first = read_examples(rows, task)
    with TemporaryDirectory() as folder:
        for name, source in SOURCES.items():
            if name == "CSV of pandas" and any(
                "\r" in text for row in rows for text in row.values() if isinstance(text, str)
            ):
                continue  # pandas 3.1 writes a carriage return without quotes, and reads such a file wrongly itself
            found = read_examples(source(columns, Path(folder)), task)
            assert found.columns == first.columns, name
            assert found.digest == first.digest, name


def nudged(value: Any, data: st.DataObject) -> Any:
    """The smallest change of a value: the next number, one more letter, one item of a list."""
    if isinstance(value, list):
        place = data.draw(st.integers(0, len(value) - 1))
        return [*value[:place], nudged(value[place], data), *value[place + 1 :]]
    if isinstance(value, float):
        return float(np.nextafter(value, -1 if value > 0 else 1))
    return value + 1 if isinstance(value, int) else value + data.draw(st.sampled_from("a.é"))


@given(data=st.data(), task=st.sampled_from(sorted(ROWS)))
@settings(max_examples=100, deadline=None)
def test_one_other_value_or_order_has_another_digest(data: st.DataObject, task: str) -> None:
    rows = data.draw(ROWS[task])
    one = read_examples(rows, task)
    place, name = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(sorted(rows[0])))
    other = [*rows]
    other[place] = rows[place] | {name: nudged(rows[place][name], data)}
    assert read_examples(other, task).digest != one.digest
    turned = read_examples(rows[::-1], task)
    assert (turned.digest == one.digest) == (rows == rows[::-1])
    assert read_examples([*rows], task).digest == one.digest


def test_the_encoding_stays() -> None:
    assert digest({"text": ["a b", "c"], "label": [1, 0]}, "text-classification").startswith(FIXED)


@pytest.mark.parametrize(
    "changed",
    [
        {"text": ["ab", "c"], "label": [0, 2]},
        {"text": ["c", "ab"], "label": [1, 0]},
        {"text": ["abc", ""], "label": [0, 1]},
        {"text": ["a", "bc"], "label": [0, 1]},
        {"text": ["ab", "c"], "label": ["0", "1"]},
        {"text": ["ab"], "label": [0]},
        {"text": ["ab", "c", "ab", "c"], "label": [0, 1, 0, 1]},
    ],
)
def test_whatever_changes_is_seen(changed: dict[str, Any]) -> None:
    base = digest({"text": ["ab", "c"], "label": [0, 1]}, "text-classification")
    if "" in changed["text"]:
        with pytest.raises(InputError):
            digest(changed, "text-classification")
    else:
        assert digest(changed, "text-classification") != base


def test_names_and_clusters_do_not_count() -> None:
    data = {"review": ["a", "b"], "stars": [0, 1], "doc": ["x", "x"]}
    found = read_examples(data, "text-classification", {"label": "stars", "cluster": "doc"})
    assert found.digest == digest({"text": ["a", "b"], "label": [0, 1]}, "text-classification")
    assert found.clusters is not None and found.clusters.tolist() == [0, 0]


def test_what_numbers_stand_for_counts() -> None:
    def of(names: list[str] | None) -> tuple[str, str]:
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
        found = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features)
        read = read_examples(found, "text-classification")
        return read.digest, subset(read, [0]).digest

    plain = digest({"text": ["a", "b"], "label": [0, 1]}, "text-classification")
    one, other, numbers = of(["bad", "good"]), of(["good", "bad"]), of(["0", "1"])
    assert len({one, other, numbers}) == 3 and len({one[1], other[1], numbers[1]}) == 3
    assert numbers[0] == plain  # names that are the numbers say nothing more


def test_the_corpus_counts() -> None:
    parts = {"queries": ["q"], "relevant": [[0]]}
    one, other = (read_examples({**parts, "corpus": ["a", *more]}).digest for more in ((), ("b",)))
    assert one != other


def picture(folder: Path) -> tuple[Image.Image, Path, bytes]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (5, 4, 3), dtype=np.uint8))
    path = folder / "x.png"
    image.save(path)
    return image, path, path.read_bytes()


def test_images_count_by_their_pixels(tmp_path: Path) -> None:
    image, path, content = picture(tmp_path)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    forms: list[Any] = [
        [{"image": one, "label": 1}]
        for one in (image, path, str(path), content, np.asarray(image), {"bytes": content, "path": None})
    ]
    forms += [
        [{"image": {"bytes": None, "path": str(path)}, "label": 1}],
        pd.DataFrame({"image": [str(path)], "label": [1]}),
        datasets.Dataset.from_dict({"image": [str(path)], "label": [1]}, features),
        datasets.Dataset.from_dict({"image": [image], "label": [1]}, features),
        datasets.Dataset.from_dict({"image": [image], "label": [1]}, features).to_iterable_dataset(),
    ]
    found = [read_examples(form, "image-classification") for form in forms]
    assert len({one.digest for one in found}) == 1
    assert [type(one.columns["image"][0]).__name__ for one in found[:3]] == ["Image", "str", "str"]
    other = np.asarray(image).copy()
    other[0, 0, 0] ^= 1
    assert read_examples([{"image": other, "label": 1}], "image-classification").digest != found[0].digest
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    assert digest({"image": [grey], "label": [0]}, "image-classification") == digest(
        {"image": [np.zeros((4, 4), np.uint8)], "label": [0]}, "image-classification"
    )
    coloured = image.quantize(8)  # a palette: its array holds numbers of colours
    assert digest({"image": [coloured], "label": [0]}, "image-classification") == digest(
        {"image": [coloured.convert("RGB")], "label": [0]}, "image-classification"
    )


def test_clips_in_every_form(tmp_path: Path) -> None:
    samples = np.linspace(-1, 1, 8, dtype=np.float32)
    dicts = {"array": samples.tolist(), "sampling_rate": 16_000}
    found = [
        read_examples({"audio": [one], "label": [0]}, "audio-classification")
        for one in (samples, samples.tolist(), samples.astype(np.float64), dicts, {"array": samples})
    ]
    assert len({one.digest for one in found}) == 1
    for one in found:
        clip = one.columns["audio"][0]
        assert clip["array"].dtype == np.float32 and clip["array"].tolist() == samples.tolist()
    assert found[3].columns["audio"][0]["sampling_rate"] == 16_000
    assert found[0].columns["audio"][0]["sampling_rate"] is None


@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1)])
def test_clips_that_are_files_count_by_their_samples(width: int, channels: int, tmp_path: Path) -> None:
    expected = np.array([-1, -0.5, 0, 0.5, 0.984375], np.float32)  # in steps of 8 bits
    path = tmp_path / "x.wav"
    path.write_bytes(wav(expected, width, channels))
    undecoded = datasets.Dataset.from_dict({"audio": [{"bytes": None, "path": str(path)}], "text": [""]})
    forms: list[Any] = [
        [{"audio": path, "text": ""}],
        [{"audio": path.read_bytes(), "text": ""}],
        [{"audio": {"bytes": path.read_bytes(), "path": "gone.wav"}, "text": ""}],
        [{"audio": {"array": expected, "sampling_rate": 16_000}, "text": ""}],
        undecoded.cast_column("audio", datasets.Audio()),
        undecoded.cast_column("audio", datasets.Audio()).to_iterable_dataset(),
    ]
    found = [read_examples(form, "automatic-speech-recognition") for form in forms]
    assert len({one.digest for one in found}) == 1
    for one in found:
        samples, rate = load_clip(one.columns["audio"][0])
        assert (samples.tolist(), samples.dtype, rate) == (expected.tolist(), np.float32, 16_000)


def test_clips_that_torchcodec_decodes() -> None:
    class Decoder:  # as datasets extends torchcodec's
        def get_all_samples(self) -> None: ...

        def __getitem__(self, key: str) -> Any:
            return {"array": np.array([0.5, 1.0]), "sampling_rate": 8_000}[key]

    found = read_examples({"audio": [Decoder()], "label": [0]}, "audio-classification")
    samples, rate = load_clip(found.columns["audio"][0])
    assert (samples.tolist(), rate) == ([0.5, 1.0], 8_000)


def test_a_file_of_sound_that_is_gone_or_of_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF text")
    for broken in (path, wav(np.zeros(0), 2, 1)):
        with pytest.raises(InputError, match="row 0"):
            read_examples({"audio": [broken], "label": [0]}, "audio-classification")
    assert load_clip(wav(np.array([0.5, 0.25]), 2, 1)[:-1])[0].tolist() == [0.5]
    with pytest.raises(InputError, match="can't be read"):
        load_clip(str(tmp_path / "gone.wav"))


def test_other_formats_are_read_where_soundfile_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(file: io.BytesIO, dtype: str, always_2d: bool) -> tuple[Any, int]:
        if file.read() != b"fLaC":
            raise RuntimeError("unknown format")
        return np.array([[0.0, 1.0], [0.5, 0.5]], np.float32), 44_100

    monkeypatch.setitem(sys.modules, "soundfile", SimpleNamespace(read=read))
    found = read_examples({"audio": [b"fLaC"], "label": [0]}, "audio-classification")
    samples, rate = load_clip(found.columns["audio"][0])
    assert (samples.tolist(), rate) == ([0.5, 0.5], 44_100)
    with pytest.raises(InputError, match="row 0"):
        read_examples({"audio": [b"text"], "label": [0]}, "audio-classification")


def test_images_as_processors_read_them(tmp_path: Path) -> None:
    image, path, _ = picture(tmp_path)
    assert np.array_equal(np.asarray(rgb_image(str(path))), np.asarray(image))
    grey = np.full((2, 3), 7, np.uint8)
    for one in (grey, Image.fromarray(grey), Image.fromarray(grey).convert("P")):
        assert np.asarray(rgb_image(one)).tolist() == np.full((2, 3, 3), 7).tolist()
    turned = Image.new("RGB", (3, 2))
    turned.getexif()[0x0112] = 6  # the camera stood on its side
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    assert rgb_image(str(tmp_path / "turned.jpg")).size == (2, 3)
    path.unlink()
    with pytest.raises(InputError, match="any more"):
        rgb_image(str(path))


COLOURS = np.random.default_rng(1).integers(0, 256, (6, 5, 3))
GREY = COLOURS[:, :, 0]


@pytest.mark.parametrize(
    ("held", "seen"),
    {
        "int64": (COLOURS, COLOURS),
        "lists": (COLOURS.tolist(), COLOURS),
        "floats to 1": (COLOURS / 255, COLOURS),
        "float32 to 1": ((COLOURS / 255).astype(np.float32), COLOURS),
        "floats to 255": (COLOURS.astype(np.float32), COLOURS),
        "channels first": (np.moveaxis(COLOURS, 2, 0), COLOURS),
        "a tensor": (torch.tensor(COLOURS / 255).permute(2, 0, 1), COLOURS),
        "RGBA": (np.concatenate([COLOURS, np.full((6, 5, 1), 99)], axis=2), COLOURS),
        "grey lists": (GREY.tolist(), GREY),
        "grey int64": (GREY, GREY),
        "grey floats": (GREY / 255, GREY),
        "one channel": (GREY[:, :, None].astype(np.uint8), GREY),
        "one channel first": (GREY[None] / 255, GREY),
        "black": (np.zeros((6, 5)), np.zeros((6, 5))),
        "white": (np.ones((6, 5)), np.full((6, 5), 255)),
    }.values(),
)
def test_every_array_is_the_picture_that_it_shows(held: Any, seen: np.ndarray[Any, Any]) -> None:
    whole = seen if seen.ndim == 3 else np.repeat(seen[:, :, None], 3, axis=2)
    found = read_examples({"image": [held], "label": [0]}, "image-classification")
    image = rgb_image(found.columns["image"][0])
    assert (image.mode, image.size) == ("RGB", (5, 6))
    assert np.asarray(image).tolist() == whole.tolist()
    assert np.asarray(rgb_image(np.asarray(held))).tolist() == whole.tolist()
    if np.shape(held)[-1] != 4:
        own = Image.fromarray(seen.astype(np.uint8))
        assert found.digest == read_examples({"image": [own], "label": [0]}, "image-classification").digest


@pytest.mark.parametrize(
    "held",
    [
        np.full((6, 5, 3), -0.5),  # what a processor made
        np.full((6, 5, 3), 1.5),
        np.full((6, 5, 3), np.nan),
        np.full((6, 5), 256),
        np.zeros((6, 5, 2)),
        np.zeros((3, 5, 3)),  # channels first, or last?
        np.zeros((1, 6, 5, 3)),
    ],
)
def test_arrays_that_are_no_picture_are_refused_by_row(held: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InputError, match="is no image in row 1"):
        read_examples({"image": [COLOURS, held], "label": [0, 0]}, "image-classification")
    with pytest.raises(InputError, match="no image"):
        rgb_image(held)


def wav(samples: np.ndarray[Any, Any], width: int, channels: int) -> bytes:
    whole = np.round(samples * 2.0 ** (8 * width - 1)).astype(np.int64) + (128 if width == 1 else 0)
    content = b"".join(int(one).to_bytes(width, "little", signed=width > 1) * channels for one in whole)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, width, 16_000, len(samples), "NONE", ""))
        writer.writeframes(content)
    return file.getvalue()
