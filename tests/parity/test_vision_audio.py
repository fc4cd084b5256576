"""Images, clips, and texts beside images: what the sweep does not show. Real inputs are made with numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoImageProcessor

import QEfficient
from QEfficient import QEFFAutoModel
from QEfficient.errors import InputError, OptionError
from tests.sdk import make_sdk
from tests.sweep import audio, vision
from tests.sweep.build import build, tokens
from tests.sweep.case import LIMIT, Case

Floats = NDArray[np.float32]
Make = Callable[..., tuple[Any, QEFFAutoModel]]

RATE = 16_000
LENGTHS = (700, 30, 1500, 340, 700)  # samples; 30 make one frame of the tiny models
BUCKETS = [340, 700, 1500]
PROCESSORS: dict[str, tuple[Any, ...]] = {
    # The config names the size of the first training, not the one that images are brought to.
    "dinov2": (transformers.BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 24, "width": 24}),),
    "wav2vec2": (transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True),),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache, and a fake SDK, for the whole file: each model is exported once."""
    folder = tmp_path_factory.mktemp("home")
    make_sdk(folder / "sdk")
    yield folder


@pytest.fixture(autouse=True)
def environment(own_environment: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(home))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(home / "sdk"))


@pytest.fixture(scope="module")
def models(home: Path) -> Make:
    """Name of a case → HuggingFace's model and ours, saved beside its processor and not compiled yet."""
    cases: dict[str, Case] = {case.name: case for case in (*vision.CASES, *audio.CASES)}

    @cache
    def make(name: str, pooling: str | None = None) -> tuple[Any, QEFFAutoModel]:
        model = build(cases[name])
        for part in (model, *PROCESSORS.get(name, ())):
            part.save_pretrained(home / name)
        return model, QEFFAutoModel.from_pretrained(home / name, pooling=pooling)

    return make


@pytest.fixture
def made(models: Make) -> Iterator[Make]:
    """The same; after a test the one fake device is free again."""
    used: list[QEFFAutoModel] = []

    def make(*arguments: str) -> tuple[Any, QEFFAutoModel]:
        used.append(models(*arguments)[1])
        return models(*arguments)

    yield make
    for ours in used:
        if ours.program_path:
            ours.close()


def picture(seed: int, size: int = 48) -> NDArray[np.uint8]:
    """Rings on a ramp, as a camera would give them: (height, width, channels), 0 to 255."""
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    rings = np.sin((8 + seed) * np.hypot(x - 0.1 * seed, y))
    return ((np.stack([rings, x, y], axis=-1) + 1) * 127.5).astype(np.uint8)


def tone(samples: int, pitch: float) -> Floats:
    """A chirp with some noise."""
    time = np.arange(samples) / RATE
    noise = np.random.default_rng(samples).standard_normal(samples)
    return (np.sin(2 * np.pi * pitch * time * (1 + time)) + 0.1 * noise).astype(np.float32)


def clips() -> list[Floats]:
    return [tone(samples, 200 + 50 * row) for row, samples in enumerate(LENGTHS)]


def alone(model: Any, clip: Floats) -> Floats:
    """HuggingFace's states of one clip by itself, without a mask."""
    with torch.no_grad():
        states: Floats = model(input_values=torch.from_numpy(clip)[None]).last_hidden_state[0].numpy()
    return states


def assert_near(want: Floats, got: Floats, part: float = 1e-5) -> None:
    """Largest difference as a part of each vector's norm."""
    assert want.shape == got.shape
    assert (np.abs(want - got).max(-1) / np.linalg.norm(want, axis=-1)).max() <= part


# ---------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("backend", ["onnxruntime", "qaic"])
def test_any_number_of_images(made: Make, backend: str) -> None:
    model, ours = made("vit")
    ours.compile(backend=backend, batch_size=4)
    for rows in (1, 4, 7, 17):
        images = vision.pixels(rows, 16, rows)
        with torch.no_grad():
            want = model(pixel_values=images).last_hidden_state.numpy()
        assert_near(want, ours.generate({"pixel_values": images})["output"], 1e-5 if backend == "onnxruntime" else 0.02)
    assert ours.generate({"pixel_values": []})["output"].shape == (0, *want.shape[1:])


def test_images_have_no_length_to_choose(made: Make) -> None:
    _, ours = made("vit")
    with pytest.raises(OptionError, match="no length to choose"):
        ours.compile(backend="onnxruntime", seq_len=32)
    ours.compile(backend="onnxruntime")
    with pytest.raises(InputError, match=r"\(rows, 3, 16, 16\)"):
        ours.generate({"pixel_values": vision.pixels(2, 32, 0)})


def test_a_map_is_pooled_over_its_places(made: Make) -> None:
    model, ours = made("convnext", "mean")
    ours.compile(backend="onnxruntime")
    images = vision.pixels(3, 64, 0)
    with torch.no_grad():
        want = model(pixel_values=images).last_hidden_state.mean((2, 3)).numpy()
    assert_near(want, ours.generate({"pixel_values": images})["output"])


def test_the_size_is_the_processor_s_and_the_program_keeps_it(made: Make, home: Path, tmp_path: Path) -> None:
    model, ours = made("dinov2")
    ours.compile(backend="onnxruntime")
    saved = ours.save_pretrained(tmp_path / "saved")
    pictures = [picture(seed) for seed in range(3)]
    inputs = AutoImageProcessor.from_pretrained(home / "dinov2")(pictures, return_tensors="pt")
    again = AutoImageProcessor.from_pretrained(saved)(pictures, return_tensors="pt")
    assert inputs["pixel_values"].shape == (3, 3, 24, 24) and model.config.image_size == 16
    assert torch.equal(inputs["pixel_values"], again["pixel_values"])
    with torch.no_grad():
        want = model(**inputs).last_hidden_state.numpy()
    got = ours.generate(inputs)["output"]
    assert_near(want, got)
    np.testing.assert_array_equal(got, QEFFAutoModel.from_pretrained(saved).generate(again)["output"])


# ---------------------------------------------------------------------------------------------- clips


@pytest.mark.parametrize("backend", ["onnxruntime", "qaic"])
def test_clips_of_unequal_length(made: Make, backend: str) -> None:
    """Each gives what HuggingFace gives for it alone, and exactly 0 beyond its own frames."""
    model, ours = made("wav2vec2")
    ours.compile(backend=backend, batch_size=2, seq_len=BUCKETS)
    got = ours.generate({"input_values": clips()})["output"]
    wanted = [alone(model, clip) for clip in clips()]
    assert got.shape == (len(LENGTHS), max(map(len, wanted)), 32)
    for want, row in zip(wanted, got, strict=True):
        assert_near(want, row[: len(want)], 1e-5 if backend == "onnxruntime" else 0.02)
        assert not row[len(want) :].any()


def test_a_feature_extractor_s_batch_gives_what_a_list_gives(made: Make, home: Path, tmp_path: Path) -> None:
    _, ours = made("wav2vec2")
    ours.compile(backend="onnxruntime", seq_len=BUCKETS)
    saved = ours.save_pretrained(tmp_path / "saved")
    inputs, again = (
        AutoFeatureExtractor.from_pretrained(folder)(clips(), sampling_rate=RATE, padding=True, return_tensors="pt")
        for folder in (home / "wav2vec2", saved)
    )
    assert all(torch.equal(inputs[name], again[name]) for name in ("input_values", "attention_mask"))
    got = ours.generate(inputs)["output"]
    normalised = [row[mask > 0] for row, mask in zip(inputs["input_values"], inputs["attention_mask"], strict=True)]
    np.testing.assert_array_equal(got, ours.generate({"input_values": normalised})["output"])
    np.testing.assert_array_equal(got, QEFFAutoModel.from_pretrained(saved).generate(again)["output"])


def test_where_padding_moves_the_numbers_clips_run_alone(made: Make) -> None:
    model, ours = made("wav2vec2-group")
    ours.compile(backend="onnxruntime", seq_len=BUCKETS)
    assert ours.qpc_session.inputs[0].name == "input_values" and len(ours.qpc_session.inputs) == 1
    got = ours.generate({"input_values": clips()})["output"]
    torch_got = ours.generate({"input_values": clips()}, runtime_ai100=False)["output"]
    for clip, row, torch_row in zip(clips(), got, torch_got, strict=True):
        want = alone(model, clip)
        assert_near(want, row[: len(want)])
        assert_near(want, torch_row[: len(want)])
        assert not row[len(want) :].any() and not torch_row[len(want) :].any()


def test_where_padding_moves_the_numbers_a_card_takes_exact_lengths_only(made: Make) -> None:
    model, ours = made("wav2vec2-group")
    ours.compile(backend="qaic", seq_len=[340, 700])
    fitting = [clip for clip in clips() if len(clip) in (340, 700)]
    got = ours.generate({"input_values": fitting})["output"]
    for clip, row in zip(fitting, got, strict=True):
        want = alone(model, clip)
        assert_near(want, row[: len(want)], 0.02)
    with pytest.raises(InputError, match="lengths 341"):
        ours.generate({"input_values": [tone(341, 200)]})


@pytest.mark.parametrize("backend", ["onnxruntime", "qaic"])
def test_frames_are_pooled_without_the_padding(made: Make, backend: str) -> None:
    model, ours = made("wav2vec2", "mean")
    ours.compile(backend=backend, seq_len=BUCKETS)
    want = np.stack([alone(model, clip).mean(0) for clip in clips()])
    assert_near(want, ours.generate({"input_values": clips()})["output"], 1e-5 if backend == "onnxruntime" else 0.02)


def test_a_long_clip_s_mask_is_exact_on_a_card(made: Make) -> None:
    """In fp16 no number past 65504 exists, and past 2048 not every whole one does: frames may not be counted in it."""
    model, ours = made("wav2vec2")
    ours.compile(backend="qaic", seq_len=70_000)
    clip = tone(66_001, 300)
    want = alone(model, clip)
    got = ours.generate({"input_values": [clip]})["output"][0]
    assert_near(want[-40:], got[-40:], 0.05)


def test_a_clip_s_graph_has_no_shape_that_depends_on_values(made: Make) -> None:
    _, ours = made("wav2vec2")
    ours.compile(backend="onnxruntime", seq_len=BUCKETS)
    kinds = {node.op_type for node in onnx.load(str(ours.onnx_path), load_external_data=False).graph.node}
    assert not kinds & {"NonZero", "ScatterND", "CumSum", "Loop", "If"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([tone(29, 200), tone(30, 200)], "row 0: 29 samples"),
        ([tone(1501, 200)], "row 0: 1501 samples"),
        (np.zeros((1, 700), np.int16), "int16"),
    ],
)
def test_clips_that_are_refused(made: Make, given: Any, message: str) -> None:
    _, ours = made("wav2vec2")
    ours.compile(backend="onnxruntime", seq_len=BUCKETS)
    with pytest.raises(InputError, match=message):
        ours.generate({"input_values": given})
    with pytest.raises(OptionError, match="shorter than the model takes"):
        ours.compile(backend="onnxruntime", seq_len=29)


def test_whisper_s_own_spectrogram(made: Make) -> None:
    """The real feature extractor, with the tiny model's bins and length."""
    model, ours = made("whisper")
    ours.compile(backend="onnxruntime")
    extractor = transformers.WhisperFeatureExtractor(feature_size=8, hop_length=160, n_fft=400, chunk_length=1)
    inputs = extractor(clips(), sampling_rate=RATE, return_tensors="pt", padding="max_length", max_length=40 * 160)
    with torch.no_grad():
        want = model.get_encoder()(inputs["input_features"]).last_hidden_state.numpy()
    assert_near(want, ours.generate(inputs)["output"])


# ---------------------------------------------------------------------------------------------- texts and images


@pytest.mark.parametrize("backend", ["onnxruntime", "qaic"])
@pytest.mark.parametrize(("texts", "images"), [(3, 1), (2, 5)])
def test_texts_and_images_in_different_numbers(made: Make, backend: str, texts: int, images: int) -> None:
    model, ours = made("clip")
    ours.compile(backend=backend, batch_size=2, seq_len=LIMIT)
    inputs = tokens((texts, LIMIT, "right"), pad=1)
    inputs["input_ids"][torch.arange(texts), inputs["attention_mask"].sum(1) - 1] = 3  # the end token
    inputs["pixel_values"] = vision.pixels(images, 16, 0)
    with torch.no_grad():
        want = model(**inputs)
    got = ours.generate(inputs)
    assert list(got) == ["text_embeds", "image_embeds"]
    for name, array in got.items():
        assert_near(want[name].numpy(), array, 1e-5 if backend == "onnxruntime" else 0.02)
    np.testing.assert_allclose(np.linalg.norm(got["image_embeds"], axis=-1), 1.0, rtol=1e-2)


def test_one_side_alone_is_refused_with_the_way_out(made: Make) -> None:
    _, ours = made("clip")
    ours.compile(backend="onnxruntime", seq_len=LIMIT)
    with pytest.raises(InputError, match="for one side load it as a model of its own"):
        ours.generate({"pixel_values": vision.pixels(1, 16, 0)})


# ---------------------------------------------------------------------------------------------- free spectrograms


@pytest.mark.parametrize("backend", ["onnxruntime", "qaic"])
def test_spectrograms_of_a_feature_extractor(made: Make, backend: str) -> None:
    """As transformers' own extractor makes and pads them, or an array a clip; HuggingFace takes one clip at a time."""
    model, ours = made("wav2vec2-bert")
    extract = transformers.SeamlessM4TFeatureExtractor(feature_size=5, num_mel_bins=5, stride=2)
    sounds = [tone(samples, 200) for samples in (6000, 1500, 900)]
    inputs = extract(sounds, sampling_rate=RATE, return_tensors="np")
    lengths = inputs["attention_mask"].sum(1).tolist()
    assert len(set(lengths)) == 3 and inputs["input_features"].shape == (3, max(lengths), 10)
    ours.compile(backend=backend, seq_len=[8, max(lengths)])
    cut = [row[:length] for row, length in zip(inputs["input_features"], lengths, strict=True)]
    for given in (inputs, {"input_features": cut}):
        states = ours.generate(given)["output"]
        for row, length in enumerate(lengths):
            with torch.no_grad():
                want = model(input_features=torch.from_numpy(cut[row])[None]).last_hidden_state[0].numpy()
            assert_near(want, states[row, :length], 1e-5 if backend == "onnxruntime" else 0.03)
            assert not states[row, length:].any()


def test_what_is_no_such_spectrogram_is_refused(made: Make) -> None:
    ours = made("wav2vec2-bert")[1]
    ours.compile(backend="onnxruntime", seq_len=[8, 36])
    for shape, said in {
        (1, 40, 10): r"row 0: 40 frames(.|\n)*at most 36 frames",
        (2, 8, 9): r"shape \(2, 8, 9\)(.|\n)*\(rows, frames, 10\)(.|\n)*processor",
        (8, 10): r"add the dim of rows: input_features\[None\]",
    }.items():
        with pytest.raises(InputError, match=said):
            ours.generate({"input_features": np.zeros(shape, np.float32)})
    with pytest.raises(InputError, match="holds NaN or infinite numbers"):
        ours.generate({"input_features": np.full((1, 8, 10), np.nan, np.float32)})


@pytest.mark.parametrize(
    ("head", "kind"), [("CTC", "CTC"), ("SequenceClassification", "AudioClassification")], ids=["CTC", "labels"]
)
def test_heads_over_spectrograms(head: str, kind: str) -> None:
    cases = {case.name: case for case in audio.CASES}
    case = replace(
        cases["wav2vec2-bert"], model_class=f"Wav2Vec2BertFor{head}", config=audio.FRAMES | {"vocab_size": 9}
    )
    model = build(case)
    ours = getattr(QEfficient, f"QEFFAutoModelFor{kind}")(build(case))
    ours.compile(backend="onnxruntime", seq_len=[8, 20])
    inputs = audio.framed()[0]
    got = ours.generate(inputs)["logits"]
    for row, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
        with torch.no_grad():
            want = model(input_features=inputs["input_features"][row : row + 1, :length]).logits[0].numpy()
        assert_near(want, got[row, :length] if head == "CTC" else got[row])
    ours.close()
