"""Boxes, paths, tasks and a table's types on the whole road: given and left out, they are HuggingFace's numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

import QEfficient
from QEfficient import QEFFAutoModel, QEFFAutoModelForQuestionAnswering, QEFFAutoModelForTokenClassification
from QEfficient.auto.base import QEFFTransformersBase
from QEfficient.errors import InputError, LoadError, OptionError, VerificationError
from QEfficient.numerics.probes import draw
from QEfficient.pytorch_transforms.embedding import GraphModule
from tests.sdk import make_sdk
from tests.sweep.build import build, tokens
from tests.sweep.case import Case
from tests.sweep.text_encoders import BERT, ROBERTA, quiet_paths
from tests.task_repos import POSITIONS, VOCAB, text_repo
from tests.unit.test_torch_free import BLOCK, python

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4  # logits of random weights this large are tens
DEEP = ROBERTA | {"max_depth": 4, "xpath_unit_hidden_size": 4}


def quiet_model(model: Any) -> None:
    quiet_paths(model.markuplm)


HEADS: dict[str, tuple[str, Case]] = {
    "lilt-tokens": (
        "TokenClassification",
        Case("lilt", "LiltForTokenClassification", ROBERTA | {"hidden_size": 48, "num_labels": 3}),
    ),
    "markuplm-answers": (
        "QuestionAnswering",
        Case("markuplm", "MarkupLMForQuestionAnswering", DEEP, std=0.3, prepare=quiet_model),
    ),
    "tapas-tables": (
        "SequenceClassification",
        Case("tapas", "TapasForSequenceClassification", BERT | {"num_labels": 2}),
    ),
    "ernie-choices": ("MultipleChoice", Case("ernie", "ErnieForMultipleChoice", BERT | {"use_task_id": True})),
    "layoutlm-words": ("MaskedLM", Case("layoutlm", "LayoutLMForMaskedLM", BERT)),
}


def beside(ours: QEFFTransformersBase, shape: tuple[int, ...], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random ones for rows of that shape."""
    assert ours._loaded is not None
    manifest, rng = ours._loaded.program.manifest, np.random.default_rng(seed)
    return {one.name: torch.from_numpy(draw(one, shape, rng, manifest.tables)) for one in manifest.rules.more}


def as_theirs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """ERNIE's model hands its task ids on as they are, so with choices it takes them only in the form of its rows."""
    return {name: value.flatten(0, -2) if name == "task_type_ids" else value for name, value in batch.items()}


def agree(ours: QEFFTransformersBase, theirs: Any, batch: dict[str, torch.Tensor], limit: float = TOLERANCE) -> None:
    """Each output, where a token is real, is HuggingFace's: of the program and of the torch model."""
    with torch.no_grad():
        want = theirs(**as_theirs(batch))
    for own in (ours.generate(batch), ours.generate(batch, runtime_ai100=False)):
        for name, array in own.items():
            wanted = want[name].numpy()
            assert array.shape == wanted.shape
            real = batch["attention_mask"].numpy() > 0 if ours._task.per_token(()) else ...
            assert np.abs(array[real] - wanted[real]).max() <= limit


@pytest.mark.parametrize(("task", "case"), HEADS.values(), ids=HEADS)
def test_heads_take_them_and_do_without(task: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    theirs = build(case)
    ours = getattr(QEfficient, f"QEFFAutoModelFor{task}")(theirs)
    ours.compile(backend="onnxruntime", seq_len=[8, 24])
    for shape in ((4, 20, "right"), (2, 7, "left")):
        batch = tokens(shape, pad=theirs.config.pad_token_id or 0)
        more = beside(ours, tuple(batch["input_ids"].shape))
        assert more
        if task == "MultipleChoice":
            batch, more = ({n: v.unflatten(0, (-1, 2)) for n, v in each.items()} for each in (batch, more))
        agree(ours, theirs, batch)
        agree(ours, theirs, batch | more)
        with torch.no_grad():  # they matter: without them the numbers are others
            with_more, without = (theirs(**as_theirs(each))[0] for each in (batch | more, batch))
        assert (with_more - without).abs().max() > 0.1
    ours.close()


def test_boxes_that_end_before_they_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LayoutLMv3 of transformers clips their width and height to 0."""
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    sizes = ROBERTA | {"coordinate_size": 6, "shape_size": 4, "input_size": 32, "num_labels": 3, "visual_embed": False}
    theirs = build(Case("layoutlmv3", "LayoutLMv3ForTokenClassification", sizes))
    ours = QEFFAutoModelForTokenClassification(theirs)
    ours.compile(backend="onnxruntime", seq_len=24)
    batch = tokens((3, 20, "right"), pad=1)
    turned = torch.tensor([90, 700, 15, 20]).expand(3, 20, 4)
    agree(ours, theirs, batch | {"bbox": turned})
    agree(ours, theirs, batch | beside(ours, (3, 20)))
    ours.close()


# ---------------------------------------------------------------------------------------------- LayoutLM, whole


@dataclass(frozen=True)
class Page:
    """A token classifier of a page's words, in a repo with a tokenizer, and its program."""

    repo: Path
    theirs: Any
    ours: QEFFAutoModelForTokenClassification
    batch: dict[str, torch.Tensor]
    boxes: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(folder / "home"))
        (folder / "repo").mkdir()
        repo = text_repo(folder / "repo", "AutoModelForMaskedLM")
        sizes = BERT | {"vocab_size": VOCAB, "max_position_embeddings": POSITIONS, "num_labels": 3}
        theirs = build(Case("layoutlm", "LayoutLMForTokenClassification", sizes))
        theirs.save_pretrained(repo)
        ours = QEFFAutoModelForTokenClassification.from_pretrained(repo)
        ours.compile(backend="onnxruntime", seq_len=[8, 24])
        batch = tokens((3, 20, "right"))
        boxes = beside(ours, (3, 20))
        yield Page(repo, theirs, ours, batch, boxes)
        ours.close()


def test_a_page_s_words(page: Page) -> None:
    agree(page.ours, page.theirs, page.batch)
    agree(page.ours, page.theirs, page.batch | page.boxes)
    as_lists = {name: value.tolist() for name, value in (page.batch | page.boxes).items()}
    assert np.array_equal(page.ours.generate(as_lists)["logits"], page.ours(**page.batch, **page.boxes).logits.numpy())


def test_verification_moves_them(page: Page) -> None:
    """A graph that loses the boxes has HuggingFace's numbers on texts alone, and is refused."""
    found = page.ours.verify()
    assert found.passed
    kept = GraphModule.call

    def without(self: GraphModule, arrays: dict[str, torch.Tensor]) -> Any:
        return kept(self, arrays | {"bbox": arrays["bbox"] * 0})

    with pytest.MonkeyPatch.context() as patch, pytest.raises(VerificationError):
        patch.setattr(GraphModule, "call", without)
        QEFFAutoModelForTokenClassification(build(Case("layoutlm", "LayoutLMForTokenClassification", BERT))).export()


SAVED = """
import json, sys
import numpy as np
from QEfficient import QEFFAutoModelForTokenClassification
import QEfficient.architectures.record as record
record.Architecture.more = record.Architecture.rows = property(lambda self: sys.exit("the architecture was asked"))
model = QEFFAutoModelForTokenClassification.from_pretrained(sys.argv[1])
inputs = json.load(open(sys.argv[2]))
with_boxes = model.generate(inputs)["logits"]
del inputs["bbox"]
np.savez(sys.argv[3], with_boxes=with_boxes, without=model.generate(inputs)["logits"])
model.warmup(calibrate=False)
assert model.benchmark(rounds=1).rows > 1
"""


def test_a_saved_program_knows_what_stands_for_them_by_its_manifest(page: Page, tmp_path: Path) -> None:
    page.ours.save_pretrained(tmp_path / "saved")
    inputs = {name: value.tolist() for name, value in (page.batch | page.boxes).items()}
    (tmp_path / "inputs.json").write_text(json.dumps(inputs))
    arguments = (tmp_path / "saved", tmp_path / "inputs.json", tmp_path / "answers.npz")
    assert not python(BLOCK + SAVED, *arguments, home=tmp_path / "home")
    with np.load(tmp_path / "answers.npz") as answers:
        for name, inputs in (("with_boxes", page.batch | page.boxes), ("without", page.batch)):
            assert np.abs(answers[name] - page.ours.generate(inputs)["logits"]).max() < 1e-5


@pytest.mark.parametrize("generation", ["new", "old"])
def test_on_the_card(page: Page, generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixed shapes: three rows in batches of two, each filled up to its bucket."""
    monkeypatch.setenv("QEFF_QAIC_SDK", str(make_sdk(tmp_path / "sdk", generation=generation).root))
    monkeypatch.setenv("QEFF_HOME", str(page.repo.parent / "home"))
    monkeypatch.chdir(tmp_path)
    model = QEFFAutoModelForTokenClassification.from_pretrained(page.repo)
    model.compile(backend="qaic", seq_len=[8, 24], batch_size=2)
    real = page.batch["attention_mask"].numpy() > 0
    for inputs in (page.batch, page.batch | page.boxes):
        got, want = (each.generate(inputs, write_io=each is model)["logits"][real] for each in (model, page.ours))
        assert np.linalg.norm(got - want) / np.linalg.norm(want) < 0.02
    files = [json.loads(path.read_text())["IO-files"] for path in sorted(tmp_path.glob("io_dir/*/batch_io.json"))]
    dims = [entry["dims"] for entry in files[-1][0] if entry["map-to"] == "bbox"]
    assert len(files) == 2 and dims == [[2, 24, 4]]
    model.close()


@pytest.mark.parametrize("backend", ["openvino", "emulator"])
def test_on_other_backends(page: Page, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(page.repo.parent / "home"))
    model = QEFFAutoModelForTokenClassification.from_pretrained(page.repo)
    model.compile(backend=backend, seq_len=[8, 24])
    real = page.batch["attention_mask"].numpy() > 0
    for inputs in (page.batch, page.batch | page.boxes):
        got, want = (each.generate(inputs)["logits"][real] for each in (model, page.ours))
        assert np.linalg.norm(got - want) / np.linalg.norm(want) < 0.02
    model.close()


def test_a_graph_of_the_caller_s(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    model = QEFFAutoModelForTokenClassification.from_pretrained(page.repo)
    model.compile(onnx_path=page.ours.onnx_path, backend="onnxruntime", seq_len=[8, 24])
    agree(model, page.theirs, page.batch | page.boxes)
    agree(model, page.theirs, page.batch)
    wrong = onnx.load(str(page.ours.onnx_path), load_external_data=False)
    next(one for one in wrong.graph.input if one.name == "bbox").type.tensor_type.shape.dim[2].dim_value = 5
    onnx.save(wrong, tmp_path / "wrong.onnx")
    shutil.copyfile(f"{page.ours.onnx_path}.data", tmp_path / "model.onnx.data")
    with pytest.raises(OptionError, match=r"\[batch_size, seq_len, 4\]"):
        model.compile(onnx_path=tmp_path / "wrong.onnx", backend="onnxruntime", seq_len=[8, 24])
    model.close()


@pytest.fixture(scope="module")
def vectors(page: Page) -> Iterator[QEFFAutoModel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(page.repo.parent / "home"))
        model = QEFFAutoModel.from_pretrained(page.repo, pooling="mean")
        model.compile(backend="onnxruntime", seq_len=[32, POSITIONS])
        yield model
        model.close()


TEXTS = ["A cup of tea.", "My name is", "Rain, rain and more rain fell on the hills all day long.", "x"]


def test_strings_are_what_huggingface_makes_of_them_without_boxes(page: Page, vectors: QEFFAutoModel) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(page.repo)
    model = transformers.AutoModel.from_pretrained(page.repo, attn_implementation="eager")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    want = ((states * mask).sum(1) / mask.sum(1)).numpy()
    assert np.abs(vectors.encode(TEXTS) - want).max() < 1e-5
    assert np.abs(np.stack(list(vectors.encode_iter(iter(TEXTS)))) - want).max() < 1e-5
    assert vectors.benchmark(TEXTS, rounds=1).rows == len(TEXTS)
    assert vectors.analyze(texts=TEXTS, before=False).name


def test_pipelines(page: Page, vectors: QEFFAutoModel) -> None:
    """They know no boxes but for a document's; without them a model gives what HuggingFace's gives."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(page.repo)
    own, other = (
        transformers.pipeline("token-classification", model=model, tokenizer=tokenizer)(TEXTS)
        for model in (page.ours, page.theirs)
    )
    for mine, theirs in zip(own, other, strict=True):
        assert [(one["entity"], one["index"]) for one in mine] == [(one["entity"], one["index"]) for one in theirs]


def test_questions_to_a_page(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers has LayoutLM's answers under documents; its pipeline hands the boxes in."""
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    sizes = BERT | {"vocab_size": VOCAB, "max_position_embeddings": POSITIONS}
    theirs = build(Case("layoutlm", "LayoutLMForQuestionAnswering", sizes))
    tokenizer = transformers.AutoTokenizer.from_pretrained(page.repo)
    for part in (theirs, tokenizer):
        part.save_pretrained(tmp_path / "repo")
    ours = QEFFAutoModelForQuestionAnswering.from_pretrained(tmp_path / "repo")
    ours.compile(backend="onnxruntime", seq_len=[24, POSITIONS])
    agree(ours, theirs, page.batch | page.boxes, 5e-4)
    words = [(word, [10 * i, 5 * i, 10 * i + 40, 5 * i + 20]) for i, word in enumerate(TEXTS[2].split())]
    own, other = (
        transformers.pipeline("document-question-answering", model=model, tokenizer=tokenizer)(
            None, "What fell?", word_boxes=words, top_k=3
        )
        for model in (ours, theirs)
    )
    assert [(one["answer"], one["start"]) for one in own] == [(one["answer"], one["start"]) for one in other]
    ours.close()


# ---------------------------------------------------------------------------------------------- what is not there


def test_entities_are_refused_without_advice_to_drop_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    ours = QEFFAutoModel(build(Case("luke", "LukeModel", ROBERTA | {"entity_vocab_size": 9, "entity_emb_size": 8})))
    ours.compile(backend="onnxruntime", seq_len=8)
    batch = tokens((2, 7, "right"), pad=1)
    _refused(ours, batch | {"entity_ids": torch.tensor([[2], [3]])}, "length of their own")
    _refused(ours, batch | {"global_attention_mask": batch["attention_mask"]}, "has no input 'global_attention_mask'")
    with pytest.raises(InputError, match="exported without inputs_embeds"):
        ours(**batch, inputs_embeds=torch.zeros(2, 7, 32))
    ours.close()


def _refused(ours: QEFFAutoModel, inputs: dict[str, torch.Tensor], said: str) -> None:
    for runtime_ai100 in (True, False):
        with pytest.raises(InputError, match=said) as caught:
            ours.generate(inputs, runtime_ai100=runtime_ai100)
        assert "The model has no input" not in str(caught.value) and "leave" not in caught.value.do


def test_the_torch_road_knows_the_model_s_own_names(tmp_path: Path) -> None:
    """A type that no file describes: what its forward takes is read off it."""
    small = BERT | {"visual_embedding_dim": 8}
    ours = QEFFAutoModel(build(Case("visual_bert", "VisualBertModel", small)))
    batch = tokens((2, 7, "right"))
    with pytest.raises(InputError, match="exported without visual_embeds"):
        ours.generate(batch | {"visual_embeds": torch.zeros(2, 3, 8)}, runtime_ai100=False)


def test_answers_from_a_table_are_no_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAPAS' question answering chooses cells: transformers has it under another class, which is not served."""
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    build(Case("tapas", "TapasForQuestionAnswering", BERT)).save_pretrained(tmp_path / "repo")
    with pytest.raises(LoadError, match="TapasConfig"):
        QEFFAutoModelForQuestionAnswering.from_pretrained(tmp_path / "repo").compile(backend="onnxruntime")


def test_the_inputs_are_part_of_the_key(page: Page) -> None:
    recipe = page.ours._recipe(False, "on")
    [one] = (recipe.ingredients() or {})["inputs_beside"]
    assert one == {"name": "bbox", "sizes": (4,), "default": 0, "below": (1024,), "boxes": True, "ordered": True}
