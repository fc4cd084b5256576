"""``transformers.pipeline`` with our objects: the answers that it gives with HuggingFace's, and not one warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer, pipeline

import QEfficient
from tests.pipeline_checks import TOLERANCE, same, silence
from tests.real_text import articles, snippets
from tests.sdk import make_sdk
from tests.task_repos import POSITIONS, clips, image_repo, pictures, speech_repo, text_repo

pytestmark = pytest.mark.slow

TEXTS = snippets(200)
TOPICS = ["film", "food", "law"]
SENTIMENTS = ["contradiction", "neutral", "entailment"]
"""Of every text classifier: the names that a zero-shot pipeline looks for serve as well as any."""
ENTITIES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@dataclass(frozen=True)
class Pair:
    """One model, HuggingFace's and ours, and the same model from a saved program."""

    folder: Path
    theirs: Any
    ours: Any
    saved: Any

    def pipes(self, task: str, **keywords: Any) -> tuple[Any, Any]:
        """A pipeline for each of the two; ours may not say a word when it is made."""
        theirs = pipeline(task, model=self.theirs, **keywords)
        with silence():
            return theirs, pipeline(task, model=self.ours, **keywords)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Pair]]:
    """Head and labels, or the norm of a speech model → a pair that is made once."""
    made: list[Pair] = []

    @cache
    def make(head: str, labels: tuple[str, ...] = (), norm: str = "") -> Pair:
        folder = tmp_path_factory.mktemp("repo")
        name = f"AutoModel{head}"
        if head == "ForImageClassification":
            image_repo(folder, labels)
        elif head == "ForCTC":
            speech_repo(folder, norm=norm)
        else:
            text_repo(folder, name, labels)
        kind = getattr(QEfficient, f"QEFF{name}")
        ours = kind.from_pretrained(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
            ours.compile(backend="onnxruntime")
        saved = kind.from_pretrained(ours.save_pretrained(tmp_path_factory.mktemp("saved") / "program"))
        made.append(Pair(folder, getattr(transformers, name).from_pretrained(folder), ours, saved))
        return made[-1]

    yield make
    for one in made:
        one.ours.close()
        one.saved.close()


def test_silence_hears_transformers(pair: Callable[..., Pair]) -> None:
    """A class that does not belong to the task is an error in transformers' log, as with its own classes."""
    wrong = pair("ForTokenClassification", tuple(ENTITIES))
    with pytest.raises(AssertionError, match="is not supported for text-classification"), silence():
        pipeline("text-classification", model=wrong.ours, tokenizer=str(wrong.folder))


# ---------------------------------------------------------------------------------------------- texts


def test_text_classification(pair: Callable[..., Pair]) -> None:
    models = pair("ForSequenceClassification", tuple(SENTIMENTS))
    theirs, ours = models.pipes("text-classification", tokenizer=str(models.folder))
    expected = theirs(TEXTS, truncation=True, batch_size=8)
    assert {one["label"] for one in expected} == set(SENTIMENTS)
    pairs = [{"text": one, "text_pair": other} for one, other in zip(TEXTS[:20], TEXTS[1:21], strict=True)]
    with silence():
        same(ours(TEXTS, truncation=True, batch_size=8), expected)
        same(ours(TEXTS[:40], truncation=True), expected[:40])
        same(ours(TEXTS[:40], top_k=None, truncation=True), theirs(TEXTS[:40], top_k=None, truncation=True))
        same(ours(pairs, truncation=True), theirs(pairs, truncation=True))


def test_sentiment_analysis(pair: Callable[..., Pair]) -> None:
    models = pair("ForSequenceClassification", tuple(SENTIMENTS))
    theirs, ours = models.pipes("sentiment-analysis", tokenizer=str(models.folder), function_to_apply="sigmoid")
    with silence():
        same(ours(TEXTS[0]), theirs(TEXTS[0]))


def test_token_classification(pair: Callable[..., Pair]) -> None:
    models = pair("ForTokenClassification", tuple(ENTITIES))
    theirs, ours = models.pipes("token-classification", tokenizer=str(models.folder))
    for strategy in ("none", "simple", "first", "average", "max"):
        expected = theirs(TEXTS, aggregation_strategy=strategy, batch_size=8)
        with silence():
            same(ours(TEXTS, aggregation_strategy=strategy, batch_size=8), expected)
            same(ours(TEXTS[:20], aggregation_strategy=strategy), expected[:20])
    assert {entity["entity_group"] for one in expected for entity in one} == {"PER", "LOC"}


def test_token_classification_of_long_texts(pair: Callable[..., Pair]) -> None:
    """Texts past the model's limit, in windows that overlap."""
    models = pair("ForTokenClassification", tuple(ENTITIES))
    theirs, ours = models.pipes(
        "ner", tokenizer=AutoTokenizer.from_pretrained(models.folder), aggregation_strategy="first", stride=16
    )
    long = articles(merge=2)[:3]
    assert min(len(text.split()) for text in long) > 2 * POSITIONS
    with silence():
        same(ours(long), theirs(long))


def test_fill_mask(pair: Callable[..., Pair]) -> None:
    models = pair("ForMaskedLM")
    theirs, ours = models.pipes("fill-mask", tokenizer=str(models.folder))
    masked = [" ".join(["[MASK]" if i == 3 else word for i, word in enumerate(text.split())]) for text in TEXTS]
    masked = [text for text in masked if "[MASK]" in text]
    long = {"tokenizer_kwargs": {"truncation": True}}
    with silence():
        same(ours(masked, top_k=3, batch_size=8, **long), theirs(masked, top_k=3, batch_size=8, **long))
        same(ours(masked[:20], targets=["good", "bad"]), theirs(masked[:20], targets=["good", "bad"]))


def test_zero_shot_classification(pair: Callable[..., Pair]) -> None:
    models = pair("ForSequenceClassification", tuple(SENTIMENTS))
    theirs, ours = models.pipes("zero-shot-classification", tokenizer=str(models.folder))
    with silence():
        answers = ours(TEXTS, TOPICS, batch_size=8)
        several = ours(TEXTS[:20], TOPICS, multi_label=True, hypothesis_template="It is about {}.")
    same(answers, theirs(TEXTS, TOPICS, batch_size=8))
    same(several, theirs(TEXTS[:20], TOPICS, multi_label=True, hypothesis_template="It is about {}."))
    assert len({tuple(one["labels"]) for one in answers}) > 1


def test_feature_extraction(pair: Callable[..., Pair]) -> None:
    models = pair("")
    theirs, ours = models.pipes("feature-extraction", tokenizer=str(models.folder), truncation=True)
    with silence():
        single, many = ours(TEXTS), ours(TEXTS, batch_size=8)
    for expected, one, padded in zip(theirs(TEXTS), single, many, strict=True):
        real = len(expected[0])
        assert np.shape(one) == np.shape(expected)
        assert np.abs(np.array(one) - expected).max() <= TOLERANCE
        assert np.abs(np.array(padded)[:, :real] - expected).max() <= TOLERANCE
        assert not np.any(np.array(padded)[:, real:])


def test_feature_extraction_of_pooled_vectors(pair: Callable[..., Pair]) -> None:
    models = pair("")
    model = QEfficient.QEFFAutoModel.from_pretrained(models.folder, pooling="mean")
    model.compile(backend="onnxruntime")
    with silence():
        ours = pipeline("feature-extraction", model=model, tokenizer=str(models.folder))
        vectors = ours(TEXTS[:9], batch_size=4)
    assert np.shape(vectors) == (9, 1, 32)
    assert np.abs(np.array(vectors)[:, 0] - model.encode(TEXTS[:9])).max() <= TOLERANCE


# ---------------------------------------------------------------------------------------------- answers


def answers(model: Any, tokenizer: Any, question: str, context: str) -> list[str]:
    """The best span of each window of a context that is longer than the model; the windows overlap."""
    batch = tokenizer(
        question,
        context,
        truncation="only_second",
        stride=32,
        padding=True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    offsets = batch.pop("offset_mapping")
    batch.pop("overflow_to_sample_mapping")
    output = model(**batch)
    found = []
    for row in range(len(offsets)):
        inside = np.array([part == 1 for part in batch.sequence_ids(row)])
        start, end = (
            np.where(inside, side[row].detach().numpy(), -np.inf) for side in (output.start_logits, output.end_logits)
        )
        scores = np.triu(start[:, None] + end[None, :]) - np.tril(np.full((len(start),) * 2, np.inf), -1)
        scores = np.where(np.tri(len(start), k=15).astype(bool), scores, -np.inf)  # answers of at most 16 tokens
        first, last = np.unravel_index(np.nan_to_num(scores, nan=-np.inf).argmax(), scores.shape)
        found.append((scores[first, last], context[offsets[row, first, 0] : offsets[row, last, 1]]))
    return [text for _, text in sorted(found, reverse=True)]


def test_question_answering(pair: Callable[..., Pair]) -> None:
    """transformers 5 has no pipeline for it, so the windows and spans are the test's own."""
    models = pair("ForQuestionAnswering")
    with pytest.raises(KeyError, match="has been removed"):
        pipeline("question-answering", model=models.theirs)
    tokenizer = AutoTokenizer.from_pretrained(models.folder)
    texts = articles()[:8]
    spans = set()
    for question, context in zip(TEXTS, texts, strict=False):
        expected = answers(models.theirs, tokenizer, question[:60], context)
        assert len(expected) > 2 and all(expected)
        assert answers(models.ours, tokenizer, question[:60], context) == expected
        spans.update(expected)
    assert len(spans) > 3 * len(texts)


# ---------------------------------------------------------------------------------------------- images and clips


def test_image_classification(pair: Callable[..., Pair]) -> None:
    labels = ("cat", "dog", "cup", "tree", "sky", "sea")
    models = pair("ForImageClassification", labels)
    theirs, ours = models.pipes("image-classification", image_processor=str(models.folder))
    images = pictures(200)
    expected = theirs(images, batch_size=8)
    assert len({one[0]["label"] for one in expected}) > 1
    with silence():
        same(ours(images, batch_size=8), expected)
        same(ours(images[0], top_k=9), theirs(images[0], top_k=9))
        same(ours(np.array(images[1])), expected[1])


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_speech_recognition(pair: Callable[..., Pair], norm: str) -> None:
    models = pair("ForCTC", norm=norm)
    parts = {
        "tokenizer": AutoTokenizer.from_pretrained(models.folder),
        "feature_extractor": AutoFeatureExtractor.from_pretrained(models.folder),
    }
    theirs, ours = models.pipes("automatic-speech-recognition", **parts)
    sounds = clips(40)
    # One at a time: in a batch HuggingFace decodes the padding's frames too, and with group norm they change the rest.
    expected = theirs(sounds)
    assert len({one["text"] for one in expected}) == len(sounds) and len(set(expected[0]["text"])) > 4
    with silence():
        same(ours(sounds), expected)
        same(ours(sounds, batch_size=8), expected)
        same(ours(sounds[:4], return_timestamps="char"), theirs(sounds[:4], return_timestamps="char"))
        same(ours(sounds[0], chunk_length_s=0.1), theirs(sounds[0], chunk_length_s=0.1))


# ---------------------------------------------------------------------------------------------- saved programs


@pytest.mark.parametrize(
    ("task", "head", "labels", "inputs"),
    [
        ("feature-extraction", "", (), TEXTS[:5]),
        ("text-classification", "ForSequenceClassification", tuple(SENTIMENTS), TEXTS[:5]),
        ("token-classification", "ForTokenClassification", tuple(ENTITIES), TEXTS[:5]),
        ("fill-mask", "ForMaskedLM", (), [f"{text[:80]} [MASK]" for text in TEXTS[:5]]),
    ],
)
def test_a_saved_program_brings_its_tokenizer(
    pair: Callable[..., Pair], task: str, head: str, labels: tuple[str, ...], inputs: Sequence[str]
) -> None:
    models = pair(head, labels)
    with silence():
        ours = pipeline(task, model=models.saved, tokenizer=models.saved.name_or_path)
        got = ours(inputs)
    same(got, pipeline(task, model=models.theirs, tokenizer=str(models.folder))(inputs))


def test_a_saved_program_brings_its_processor(pair: Callable[..., Pair]) -> None:
    images = pair("ForImageClassification", ("cat", "dog", "cup", "tree", "sky", "sea"))
    theirs, ours = (AutoImageProcessor.from_pretrained(place) for place in (images.folder, images.saved.name_or_path))
    assert ours.to_dict() == theirs.to_dict()
    with silence():
        answer = pipeline("image-classification", model=images.saved, image_processor=ours)(pictures(1)[0])
    same(answer, pipeline("image-classification", model=images.theirs, image_processor=theirs)(pictures(1)[0]))
    speech = pair("ForCTC", norm="layer")
    parts = {
        "tokenizer": AutoTokenizer.from_pretrained(speech.saved.name_or_path),
        "feature_extractor": AutoFeatureExtractor.from_pretrained(speech.saved.name_or_path),
    }
    sound = clips(1)[0]
    with silence():
        heard = pipeline("automatic-speech-recognition", model=speech.saved, **parts)(sound)
    assert heard == pipeline("automatic-speech-recognition", model=speech.theirs, **parts)(sound)


def test_on_the_card(pair: Callable[..., Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake SDK computes in fp16 and takes the compiled shapes only."""
    models = pair("ForSequenceClassification", tuple(SENTIMENTS))
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", devices=1, nsp=16).root))
    card = type(models.ours).from_pretrained(models.saved.program_path, backend="qaic")
    with silence():
        ours = pipeline("text-classification", model=card, tokenizer=card.name_or_path)
        answers = ours(TEXTS, truncation=True, batch_size=8)
    card.close()
    theirs = pipeline("text-classification", model=models.theirs, tokenizer=str(models.folder))
    for got, expected in zip(answers, theirs(TEXTS, truncation=True, batch_size=8), strict=True):
        assert got["label"] == expected["label"]
        assert abs(got["score"] - expected["score"]) < 0.02
