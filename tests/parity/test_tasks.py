"""Each task class on at least five architectures: its numbers are HuggingFace's, through every way to call it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import QEfficient
from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.cache import content_key
from QEfficient.source.head import Head
from QEfficient.source.loaded_module import LoadedModule
from QEfficient.source.recipe import Recipe
from tests.pipeline_checks import same, silence
from tests.real_text import snippets
from tests.sweep.build import build, tokens, types
from tests.sweep.case import Case
from tests.task_repos import clips, image_processor, level, pictures, speech_parts, word_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

TOLERANCE = 1e-4
LABELS = {
    "num_labels": 3,
    "id2label": {0: "low", 1: "middle", 2: "high"},
    "label2id": {"low": 0, "middle": 1, "high": 2},
}
SMALL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT = {**SMALL, "intermediate_size": 48, "max_position_embeddings": 24}
ROBERTA = {**BERT, "max_position_embeddings": 26, "type_vocab_size": 1, "pad_token_id": 1}
DISTIL = {"vocab_size": 97, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 24}
DEBERTA = {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
MODERN = {**BERT, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "global_attn_every_n_layers": 2}
TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BERT),
    "roberta": ("Roberta", ROBERTA),
    "distilbert": ("DistilBert", DISTIL),
    "electra": ("Electra", {**BERT, "embedding_size": 16}),
    "deberta-v2": ("DebertaV2", DEBERTA),
    "modernbert": ("ModernBert", MODERN),
}
PIXELS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
VIT = {**PIXELS, "image_size": 32, "patch_size": 8}
IMAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViT", VIT),
    "deit": ("DeiT", VIT),
    "beit": ("Beit", VIT),
    "dinov2": ("Dinov2", VIT),
    "convnext": ("ConvNext", {"image_size": 32, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 16]}),
}
CONVOLUTIONS = {
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
SPEECH = {**SMALL, **CONVOLUTIONS, "vocab_size": 20, "intermediate_size": 48, "classifier_proj_size": 16}
DATA2VEC = {key: value for key, value in SPEECH.items() if key != "num_conv_pos_embeddings"}
AUDIO: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", SPEECH),
    "hubert": ("Hubert", SPEECH),
    "wavlm": ("WavLM", SPEECH),
    "unispeech": ("UniSpeech", SPEECH),
    "data2vec-audio": ("Data2VecAudio", {**DATA2VEC, "conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2}),
}
KINDS = {
    "SequenceClassification": {name: TEXT[name] for name in TEXT if name != "electra"},
    "TokenClassification": {name: TEXT[name] for name in TEXT if name != "electra"},
    "QuestionAnswering": {name: TEXT[name] for name in TEXT if name != "modernbert"},
    "MaskedLM": {name: TEXT[name] for name in TEXT if name != "deberta-v2"},
    "MultipleChoice": {name: TEXT[name] for name in TEXT if name != "distilbert"},
    "ImageClassification": IMAGE,
    "AudioClassification": AUDIO,
    "CTC": AUDIO,
}
"""Class suffix → model type → class name's start in transformers, and its config."""

# transformers calls one of them otherwise.
NAMES = {"AudioClassification": "SequenceClassification"}
ALL = [(task, model_type) for task, models in KINDS.items() for model_type in models]


def model_of(task: str, model_type: str) -> Any:
    start, config = KINDS[task][model_type]
    labels = {"num_labels": 2} if task == "QuestionAnswering" else {} if task == "CTC" else LABELS
    model = build(Case(model_type, f"{start}For{NAMES.get(task, task)}", {**config, **labels}, std=0.3))
    if task == "CTC":
        with torch.no_grad():
            level(model, model(**inputs_of(task, model)[1]).logits.flatten(0, 1))
    return model


def inputs_of(task: str, model: Any) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    if task == "ImageClassification":
        return [{"pixel_values": torch.randn(rows, 3, 32, 32, generator=generator)} for rows in (1, 3)]
    if task in ("AudioClassification", "CTC"):
        return [{"input_values": torch.randn(rows, size, generator=generator)} for rows, size in ((1, 200), (2, 431))]
    result = []
    for shape in ((4, 20, "right"), (2, 7, "none"), (1, 1, "none")):
        batch = tokens(shape, pad=model.config.pad_token_id or 0)
        if getattr(model.config, "type_vocab_size", 0) > 1:
            batch["token_type_ids"] = types(batch)
        if task == "MultipleChoice":
            batch = {
                name: value.reshape(-1, 2 if len(value) > 1 else 1, value.shape[1]) for name, value in batch.items()
            }
        result.append(batch)
    return result


def real(array: np.ndarray, batch: dict[str, torch.Tensor], per_token: bool) -> np.ndarray:
    return array[batch["attention_mask"].numpy().astype(bool)] if per_token and "attention_mask" in batch else array


@pytest.fixture(scope="module", params=ALL, ids=lambda pair: "-".join(pair))
def task_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any, QEFFTransformersBase]]:
    task, model_type = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        theirs = model_of(task, model_type)
        ours = getattr(QEfficient, f"QEFFAutoModelFor{task}")(theirs)
        ours.compile(backend="onnxruntime")
    yield task, theirs, ours
    ours.close()


def test_logits_are_those_of_huggingface(task_model: tuple[str, Any, QEFFTransformersBase]) -> None:
    task, theirs, ours = task_model
    for batch in inputs_of(task, theirs):
        with torch.no_grad():
            want = theirs(**batch)
        output, arrays, own = ours(**batch), ours.generate(batch), ours.generate(batch, runtime_ai100=False)
        assert set(output) <= set(want)
        assert list(arrays) == list(ours._task.outputs) == list(own)
        for name, array in arrays.items():
            expected = want[name].numpy()
            assert array.shape == expected.shape and array.dtype == np.float32
            kept, wanted = (real(side, batch, ours._task.per_token(())) for side in (array, expected))
            assert np.abs(kept - wanted).max() <= TOLERANCE
            assert np.abs(real(own[name], batch, ours._task.per_token(())) - wanted).max() <= TOLERANCE
            assert np.array_equal(output[name].numpy(), array)


def parts(task: str, config: Any, folder: Path) -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """What a pipeline is made of beside the model, 200 inputs for it, and the keywords of the call."""
    if task == "ImageClassification":
        return {"image_processor": image_processor(folder)}, pictures(200), {"batch_size": 8}
    if task == "CTC":
        return speech_parts(folder, ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLUCMF"]), clips(200, 1200), {}
    if task == "AudioClassification":
        extractor = speech_parts(folder, ["<pad>", "<s>", "</s>", "<unk>"])["feature_extractor"]
        return {"feature_extractor": extractor}, clips(200, 1200), {"top_k": None}
    tokenizer = word_tokenizer(vocab=97, limit=24, pad=config.pad_token_id or 0)
    calls: dict[str, dict[str, Any]] = {
        "SequenceClassification": {"truncation": True, "top_k": None},
        "TokenClassification": {"aggregation_strategy": "simple"},
        "MaskedLM": {"tokenizer_kwargs": {"truncation": True}, "top_k": 3},
    }
    start = "[MASK] " if task == "MaskedLM" else ""
    return {"tokenizer": tokenizer}, [start + text for text in snippets(200)], {"batch_size": 8, **calls[task]}


def test_a_pipeline_gives_the_same_answers(task_model: tuple[str, Any, QEFFTransformersBase], tmp_path: Path) -> None:
    task, theirs, ours = task_model
    if task in ("QuestionAnswering", "MultipleChoice"):
        assert ours._task.name not in transformers.pipelines.SUPPORTED_TASKS  # transformers 5 has none for them
        return
    made_of, inputs, call = parts(task, theirs.config, tmp_path)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of torch, on how WavLM makes its mask
        expected = transformers.pipeline(ours._task.name, model=theirs, **made_of)(inputs, **call)
    with silence():
        answers = transformers.pipeline(ours._task.name, model=ours, **made_of)(inputs, **call)
    same(answers, expected)
    assert len({str(answer) for answer in expected}) > 150


def test_weights_are_telling() -> None:
    """Scores that hardly move would agree with anything."""
    for task in KINDS:
        model = model_of(task, next(iter(KINDS[task])))
        first, *_ = inputs_of(task, model)
        with torch.no_grad():
            scores = next(iter(value for value in model(**first).values() if isinstance(value, torch.Tensor)))
        assert scores.std() > 0.1, task


def test_beyond_a_rows_last_token_everything_is_zero(task_model: tuple[str, Any, QEFFTransformersBase]) -> None:
    task, theirs, ours = task_model
    if not ours._task.per_token(()) or task == "CTC":
        batch = inputs_of(task, theirs)[0]
        assert len(ours.generate(batch)["logits"]) == len(next(iter(batch.values())))
        return
    batch = tokens((3, 9, "right"), pad=theirs.config.pad_token_id or 0)
    for array in ours.generate(batch).values():
        assert not array[~batch["attention_mask"].numpy().astype(bool)].any()


def test_a_saved_program_keeps_labels_and_task(
    task_model: tuple[str, Any, QEFFTransformersBase], tmp_path: Path
) -> None:
    task, theirs, ours = task_model
    folder = ours.save_pretrained(tmp_path / "program")
    again = type(ours).from_pretrained(folder)
    assert again.config.id2label == theirs.config.id2label
    assert again.config.problem_type == theirs.config.problem_type
    batch = inputs_of(task, theirs)[0]
    for name, array in ours.generate(batch).items():
        assert np.array_equal(again.generate(batch)[name], array)
    other = QEfficient.QEFFAutoModelForCTC if task != "CTC" else QEfficient.QEFFAutoModel
    with pytest.raises(QEfficient.QEfficientError, match="another task"):
        other.from_pretrained(folder)
    again.close()


def test_problem_types(tmp_path: Path) -> None:
    """Regression and several labels at once are the same graph; only the config says so, and it is kept."""
    start, config = TEXT["bert"]
    for labels, problem in ((1, "regression"), (3, "multi_label_classification")):
        case = Case(
            "bert", f"{start}ForSequenceClassification", {**config, "num_labels": labels, "problem_type": problem}
        )
        theirs = build(case)
        ours = QEfficient.QEFFAutoModelForSequenceClassification(theirs)
        ours.compile(backend="onnxruntime", seq_len=16)
        batch = tokens((3, 9, "right"))
        with torch.no_grad():
            want = theirs(**batch).logits.numpy()
        assert np.abs(ours.generate(batch)["logits"] - want).max() <= TOLERANCE
        again = type(ours).from_pretrained(ours.save_pretrained(tmp_path / problem))
        assert again.config.problem_type == problem


DECODER = {**BERT, "num_key_value_heads": 2, "num_labels": 3}


def test_a_decoder_classifies_by_its_last_real_token(tmp_path: Path) -> None:
    """HuggingFace finds that token by the config's pad id, so rows are filled with it, whatever the tokenizer's is."""
    theirs = build(Case("llama", "LlamaForSequenceClassification", {**DECODER, "pad_token_id": 3}, std=0.3))
    theirs.save_pretrained(tmp_path)
    ours = QEfficient.QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path)
    ours.compile(backend="onnxruntime", seq_len=16)
    batch = tokens((4, 12, "right"), pad=3)
    lengths = batch["attention_mask"].sum(1).tolist()
    with torch.no_grad():
        alone = [theirs(input_ids=batch["input_ids"][row : row + 1, :length]) for row, length in enumerate(lengths)]
    want = np.concatenate([output.logits.numpy() for output in alone])
    assert np.abs(ours.generate(batch)["logits"] - want).max() <= TOLERANCE


def test_a_decoder_without_a_pad_id_gives_each_row_what_huggingface_gives_it_alone() -> None:
    """HuggingFace takes no batch of such a model: it can't tell where a row ends. The graph reads it off the mask."""
    theirs = build(Case("llama", "LlamaForSequenceClassification", {**DECODER, "pad_token_id": None}, std=0.3))
    ours = QEfficient.QEFFAutoModelForSequenceClassification(theirs)
    ours.compile(backend="onnxruntime", seq_len=16)
    batch = tokens((4, 12, "right"), pad=3)
    lengths = batch["attention_mask"].sum(1).tolist()
    with torch.no_grad():
        alone = [theirs(input_ids=batch["input_ids"][row : row + 1, :length]) for row, length in enumerate(lengths)]
        with pytest.raises(ValueError, match="no padding token"):
            theirs(**batch)
    want = np.concatenate([output.logits.numpy() for output in alone])
    assert np.abs(ours.generate(batch)["logits"] - want).max() <= TOLERANCE


def test_a_model_of_another_task_is_named() -> None:
    ours = QEfficient.QEFFAutoModelForSequenceClassification(build(Case("bert", "BertModel", BERT)))
    with pytest.raises(QEfficient.QEfficientError, match="BertModel has no head for this task"):
        ours.compile(backend="onnxruntime", seq_len=16)


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    """transformers would fill the head with random numbers."""
    bert = build(Case("bert", "BertModel", BERT))
    bert.save_pretrained(tmp_path)
    model = QEfficient.QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path)
    with pytest.raises(QEfficient.QEfficientError, match="classifier"):
        model.compile(backend="onnxruntime")


def test_a_checkpoint_without_its_pooler_is_refused_by_a_task_that_needs_it(tmp_path: Path) -> None:
    """An embedding does not pass through BERT's pooler; a classification does."""
    case = Case("bert", "BertForSequenceClassification", BERT)
    theirs = build(case)
    state = {name: value for name, value in theirs.state_dict().items() if "pooler" not in name}
    theirs.save_pretrained(tmp_path, state_dict=state)
    model = QEfficient.QEFFAutoModelForSequenceClassification.from_pretrained(tmp_path)
    with pytest.raises(QEfficient.QEfficientError, match="pooler"):
        model.compile(backend="onnxruntime")
    pooled = QEfficient.QEFFAutoModel.from_pretrained(tmp_path, pooling="pooler_output")
    with pytest.raises(QEfficient.QEfficientError, match="pooler"):
        pooled.compile(backend="onnxruntime")


def test_choices_come_in_three_dims() -> None:
    case = Case("bert", "BertForMultipleChoice", BERT)
    ours = QEfficient.QEFFAutoModelForMultipleChoice(build(case))
    with pytest.raises(QEfficient.QEfficientError, match="3-D"):
        ours.generate({"input_ids": [[1, 2]]})


def test_every_task_is_told_apart_in_the_cache() -> None:
    """Same weights, another head: no graph of one task may serve another."""
    classes = [QEfficient.QEFFAutoModel, *(getattr(QEfficient, f"QEFFAutoModelFor{task}") for task in KINDS)]
    origin = LoadedModule(build(Case("bert", "BertModel", BERT)))
    keys = {content_key(Recipe(origin, Head(), one._task).ingredients() or {}) for one in classes}
    assert len(keys) == len(classes)
    assert all(hasattr(transformers, one._task.auto_class) for one in classes)
