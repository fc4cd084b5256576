"""Embedding models: what is computed, that a student learns, and that it is a model like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from QEfficient import QEFFAutoModel
from QEfficient.errors import InputError, OptionError, PoolingError, QEfficientError, UsageError
from QEfficient.source.identity import tensors_digest
from QEfficient.train.distill import distill_embeddings
from QEfficient.train.distill_losses import vector_terms
from QEfficient.train.distill_request import DistillRequest, parse_distill_request
from QEfficient.train.distill_texts import read_texts
from QEfficient.train.order import by_length
from QEfficient.train.record import Trained
from QEfficient.train.sentence_model import SentenceHead
from QEfficient.train.teacher import ModelWithTokenizer
from tests.tiny_repo import tiny_repo
from tests.train import small

MEAN = SentenceHead(({"step": "pooling", "modes": ["mean"]},))
OTHERS = [f"another text, number {number}, of few words" for number in range(8)]
QUICK: dict[str, Any] = {"max_steps": 6, "batch_size": 8, "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("teacher"), layers=4, normalize=False)


@pytest.fixture
def teacher(folder: Path) -> ModelWithTokenizer:
    return ModelWithTokenizer(AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder))


def learned(
    teacher: ModelWithTokenizer, where: Path, student: Any = 2, *, head: SentenceHead = MEAN, **keywords: Any
) -> Trained:
    request = parse_distill_request(QUICK | {"output_dir": where} | keywords)
    return distill_embeddings(teacher, head, student, small.TEXTS, OTHERS, request)


def narrow(width: int = 16) -> Any:
    """A student of another width."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 2 * width}
    return BertModel(BertConfig(vocab_size=30522, max_position_embeddings=64, **sizes)).eval()


def test_the_terms_of_the_loss_are_what_they_say() -> None:
    own, teachers = torch.tensor([[3.0, 0], [0, 2]]), torch.tensor([[1.0, 0], [1, 1]])
    terms = {name: float(term) for name, term in vector_terms(own, teachers).items()}
    half = 0.5**0.5
    assert terms == pytest.approx({"cosine": (1 - half) / 2, "mse": (4 + 1 + 1) / 3, "similarity": half**2})
    assert {float(term) for term in vector_terms(own, own).values()} == {0.0}
    assert float(vector_terms(own[:1], teachers[:1])["similarity"]) == 0  # a batch of one text has no pairs


def test_every_text_is_in_one_batch_and_near_ones_together() -> None:
    lengths = [1 + number % 40 for number in range(330)]

    def batches(epoch: int, drop_last: bool = False) -> list[list[int]]:
        sampler = by_length({"text": ["x" * length for length in lengths]}, 8, drop_last, seed=1)
        sampler.set_epoch(epoch)
        return list(sampler)

    first = batches(0)
    assert sorted(row for batch in first for row in batch) == list(range(330))
    spans = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in first]
    assert np.mean(spans) < 8  # of 40
    assert first == batches(0) != batches(1)
    assert batches(0, drop_last=True) == first[:-1]


def test_a_student_comes_nearer_and_its_teacher_stays(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    before, mode = tensors_digest(teacher.module), teacher.module.training
    trained = learned(teacher, tmp_path, max_steps=30)
    assert tensors_digest(teacher.module) == before and teacher.module.training == mode
    assert trained.course.held_out_losses is not None
    assert trained.course.held_out_losses[1] < 0.7 * trained.course.held_out_losses[0]
    assert trained.course.losses[-1][1] < 0.7 * trained.course.losses[0][1]
    assert trained.facts()["how"]["layers"] == [1, 3]
    assert trained.data.task == "distillation" and trained.data.rows == len(small.TEXTS)


def test_the_same_seed_gives_the_same_weights(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    runs = [learned(teacher, tmp_path / str(place), seed=seed) for place, seed in enumerate((0, 0, 1))]
    first, again, other = (tensors_digest(run.module) for run in runs)
    assert first == again != other


def test_teachers_that_pool_otherwise_are_two_teachers(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    first_token = SentenceHead(({"step": "pooling", "modes": ["cls"]},))
    runs = []
    for head in (MEAN, first_token):
        runs.append(learned(teacher, tmp_path, head=head, max_steps=1))
        shutil.rmtree(tmp_path / "checkpoint-1")
        (tmp_path / "run.json").unlink()
    assert runs[0].facts()["how"]["teacher"] != runs[1].facts()["how"]["teacher"]
    vectors = [np.load(file) for file in tmp_path.glob("teacher-*.npy")]
    assert len(vectors) == 2 and not np.allclose(*vectors)


def test_a_broken_run_goes_on_to_the_same_weights(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    whole = learned(teacher, tmp_path, save_steps=2)
    expected = tensors_digest(whole.module)
    [vectors] = tmp_path.glob("teacher-*.npy")
    written = vectors.stat().st_mtime_ns
    (tmp_path / "checkpoint-6" / "trainer_state.json").unlink()  # as if it had been killed while that was written
    resumed = learned(teacher, tmp_path, save_steps=2, resume=True)
    assert tensors_digest(resumed.module) == expected
    assert vectors.stat().st_mtime_ns == written  # the teacher was not asked again


@pytest.mark.parametrize("keywords", [{"alpha": 0.1}, {"temperature": 9.0}])
def test_keywords_of_heads_are_refused(teacher: ModelWithTokenizer, tmp_path: Path, keywords: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="does nothing"):
        learned(teacher, tmp_path, **keywords)


def test_early_stopping_needs_texts_that_are_held_out(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(UsageError, match="held-out rows"):
        request = parse_distill_request({"early_stopping": 1, "output_dir": folder})
        distill_embeddings(teacher, MEAN, 1, small.TEXTS, None, request)
    assert not folder.exists()  # before anything is made


def test_early_stopping_takes_the_best(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    trained = learned(teacher, tmp_path, early_stopping=1, save_steps=1, max_steps=40, learning_rate=0.2)
    assert trained.course.steps < 40


def test_texts_are_cut_for_the_training_only(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    trained = learned(teacher, tmp_path, max_length=8)
    assert trained.wrapper.max_seq_length == 64  # as the teacher
    assert teacher.tokenizer.model_max_length == 64
    trained.wrapper.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert QEFFAutoModel.from_pretrained(tmp_path / "saved", pooling="auto").max_seq_length == 64


def test_another_width_comes_through_a_projection(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    head = SentenceHead((*MEAN.steps, {"step": "normalize"}))
    trained = learned(teacher, tmp_path, ModelWithTokenizer(narrow(), teacher.tokenizer), head=head, max_steps=30)
    assert [type(part).__name__ for part in trained.wrapper] == ["Transformer", "Pooling", "Dense", "Normalize"]
    assert trained.wrapper.encode(OTHERS).shape == (8, 32)
    assert trained.course.held_out_losses is not None
    assert trained.course.held_out_losses[1] < trained.course.held_out_losses[0]


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"weights": {"cosin": 1}}, "weights"),
        ({"weights": {"cosine": 0, "mse": 0, "similarity": 0}}, "above 0"),
        ({"weights": {"mse": -1}}, "weights"),
        ({"temperature": 0}, "temperature"),
        ({"alpha": 1.5}, "alpha"),
        ({"alpha": float("nan")}, "alpha"),
        ({"lora": True}, "distill has no keyword 'lora'"),
        ({"epoch": 1}, "Did you mean 'epochs'"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_a_keyword_that_does_not_fit_is_refused(keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_distill_request(keywords)


def test_defaults_are_those_of_distilling() -> None:
    request = parse_distill_request({"weights": {"similarity": 3}})
    assert (request.batch_size, request.dropout, request.rate) == (64, 0.0, 3e-4)
    assert request.weights == {"cosine": 1.0, "mse": 1.0, "similarity": 3.0}
    assert "lora" not in request.how() and DistillRequest().how()["temperature"] == 2.0


def test_texts_are_read_from_whatever_holds_them(tmp_path: Path) -> None:
    import pandas as pd

    texts = ["one", "two", "one", "three"]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(f'{{"review": "{text}", "stars": 1}}\n' for text in texts))
    forms: list[tuple[Any, Any]] = [
        (texts, None),
        (iter(texts), None),
        (pd.Series(texts), None),
        (pd.DataFrame({"text": texts, "label": 1}), None),
        ([{"sentence": text} for text in texts], None),
        ({"it": texts}, {"text": "it"}),
        (file, None),
        (small.rows("similarity", text=["one"], pair=["two"], score=[1.0]), None),
    ]
    read = [read_texts(data, columns).columns["text"] for data, columns in forms]
    assert all(found == ["one", "two", "three"] for found in read[:-1])
    assert read[-1] == ["one", "two"]
    assert read_texts(small.pairs()).columns["text"][0] == small.TEXTS[0]


@pytest.mark.parametrize(
    "data", [[], ["one", " "], ["one", None], [["one", "two", 3]], {"text": []}, {"other": [1]}, "nowhere.csv", 5]
)
def test_what_holds_no_texts_is_refused(data: Any) -> None:
    with pytest.raises(QEfficientError):
        read_texts(data)


def test_what_does_not_fit_is_refused_before_there_is_a_folder(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    where = tmp_path / "run"
    wordless = narrow()
    wordless.resize_token_embeddings(100)
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (OptionError, "no such layers", {"student": 9}),
        (InputError, "fewer words", {"student": ModelWithTokenizer(wordless, teacher.tokenizer)}),
        (PoolingError, "Without pooling", {"head": SentenceHead(())}),
        (OptionError, "one kind of texts", {"prompts": {"text": "query: "}}),
    ]
    for error, said, keywords in cases:
        with pytest.raises(error, match=said):
            learned(teacher, where, **{"student": 2, **keywords})
    assert not where.exists()


def test_a_teacher_that_gives_nan_is_refused(teacher: ModelWithTokenizer, tmp_path: Path) -> None:
    teacher.module.get_input_embeddings().weight.data.fill_(float("nan"))  # type: ignore[operator]
    with pytest.raises(InputError, match="NaN"):
        learned(teacher, tmp_path)
    assert not list(tmp_path.glob("teacher-*"))


# ---------------------------------------------------------------------------------------------- the Auto object


@pytest.fixture(scope="module")
def pair(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[QEFFAutoModel, QEFFAutoModel]:
    """A teacher and its student, which was never compiled."""
    teacher = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    where = tmp_path_factory.mktemp("run")
    return teacher, teacher.distill(layers=2, data=small.TEXTS, eval=OTHERS, output_dir=where, **QUICK)


@pytest.mark.slow
def test_the_student_compiles_and_its_repo_is_one_of_sentence_transformers(
    pair: tuple[QEFFAutoModel, QEFFAutoModel], folder: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    teacher, student = pair
    assert teacher.config.num_hidden_layers == 4 and student.config.num_hidden_layers == 2
    student.compile()
    vectors = student.encode(OTHERS)
    [repo] = [Path(path) for path in [student._need_origin("test").folder]]
    np.testing.assert_allclose(vectors, SentenceTransformer(str(repo), device="cpu").encode(OTHERS), atol=2e-6)
    student.save_pretrained(tmp_path / "saved")
    saved = QEFFAutoModel.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(saved.encode(OTHERS), vectors)
    teacher.compile()
    expected = SentenceTransformer(str(folder), device="cpu").encode(OTHERS)
    np.testing.assert_allclose(teacher.encode(OTHERS), expected, atol=2e-6)


@pytest.mark.slow
def test_a_student_of_another_width_gives_vectors_of_the_teachers(folder: Path, tmp_path: Path) -> None:
    teacher = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    module = narrow()
    before = tensors_digest(module)
    student = teacher.distill(module, data=small.TEXTS, output_dir=tmp_path, **QUICK)
    assert tensors_digest(module) == before
    student.compile()
    assert student.encode(OTHERS).shape == (8, 32)


def test_a_student_in_a_folder_reads_with_its_own_tokenizer(folder: Path, tmp_path: Path) -> None:
    teacher = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    other = tiny_repo(tmp_path / "other", dim=16, layers=1, positions=32)
    student = teacher.distill(str(other), data=small.TEXTS, output_dir=tmp_path / "run", **QUICK)
    assert (student.config.hidden_size, student.max_seq_length) == (16, 32)
    assert [step["step"] for step in student._head.steps] == ["pooling", "dense"]  # pooled as the teacher


def test_a_student_is_named_in_one_way(folder: Path) -> None:
    teacher = QEFFAutoModel.from_pretrained(folder, pooling="auto")
    with pytest.raises(UsageError, match="neither student nor layers"):
        teacher.distill(data=small.TEXTS)
    with pytest.raises(UsageError, match="both"):
        teacher.distill(narrow(), layers=2, data=small.TEXTS)
    with pytest.raises(UsageError, match="can't be a student"):
        teacher.distill(7, data=small.TEXTS)
    with pytest.raises(InputError, match="no texts"):
        teacher.distill(layers=2, data=[])
