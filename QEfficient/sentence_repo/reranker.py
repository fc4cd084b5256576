"""What a folder says of a reranker's scores, read as sentence-transformers' CrossEncoder reads it. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from QEfficient.errors import LoadError
from QEfficient.hub import read_object
from QEfficient.records import Json
from QEfficient.sentence_repo.repo import CONFIG_FILE, SentenceRepo
from QEfficient.sentence_repo.transformer import unfollowed

# The one kind of CrossEncoder whose score is what a sequence-classification model gives.
_PLAIN = {
    "transformer_task": "sequence-classification",
    "module_output_name": "scores",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
}
_GENERATIVE = ("text-generation", "any-to-any")


@dataclass(frozen=True, slots=True)
class Scoring:
    """How sentence-transformers makes scores with a model.

    Attributes:
        activation: Dotted name of the class that is applied to the logits, ``None`` when nothing is saved.
        chat: True when it writes a pair through the tokenizer's chat template.
    """

    activation: str | None = None
    chat: bool = False


def read_scoring(folder: Path, repo: SentenceRepo | None) -> Scoring:
    """The scoring of a model's folder.

    A CrossEncoder that sentence-transformers 6 saved says it in ``config_sentence_transformers.json``; versions 4 and
    5 wrote the activation into ``config.json`` below ``sentence_transformers``, older ones as
    ``sbert_ce_default_activation_function``. What it did not save itself gets a chat template when it has one.

    Args:
        folder: The model's folder.
        repo: The sentence-transformers repo, when the folder is one.

    Raises:
        LoadError: A file is malformed.
    """
    model = folder if repo is None else repo.transformer
    saved = _saved(repo)
    config = read_object(model / "config.json", missing_ok=True)
    older = config.get("sentence_transformers") or {}
    found = (
        saved.get("activation_fn"),
        older.get("activation_fn") if isinstance(older, dict) else None,
        config.get("sbert_ce_default_activation_function"),
    )
    if repo is not None and saved:
        chat = "message" in (repo.options.get("modality_config") or {})
    else:
        chat = _has_chat_template(model)
    return Scoring(next((str(name) for name in found if name is not None), None), chat)


def check_reranker(folder: Path, repo: SentenceRepo | None, *, adapted: bool = False) -> None:
    """Refuses a model whose scores are not the logits of one sequence-classification model.

    Args:
        folder: The model's folder.
        repo: The sentence-transformers repo, when the folder is one.
        adapted: Whether an adapter is merged into it: then what the base was saved as says nothing of the head.

    Raises:
        LoadError: A generative reranker, whose score is made of a token's logit, or one with further modules.
    """
    kinds, other = ["Transformer"], {}
    if repo is not None and _saved(repo):
        kinds = [module.kind for module in repo.modules]
        other = _other_options(repo)
    architectures = read_object(folder / "config.json", missing_ok=True).get("architectures") or [""]
    decoder = not adapted and str(architectures[0]).endswith("ForCausalLM")
    if kinds == ["Transformer"] and not other and not decoder:
        return
    generative = decoder or "LogitScore" in kinds or other.get("transformer_task") in _GENERATIVE
    raise LoadError(
        "This is a generative reranker: its score is made of the logit of a word, which is not supported."
        if generative
        else "The scores of this reranker are not the plain logits of a sequence-classification model.",
        got=", ".join([*kinds, str(architectures[0]), *(f"{name}={value!r}" for name, value in other.items())]),
        allowed="an encoder with a sequence-classification head, alone or as the one Transformer of a CrossEncoder",
        do="use sentence_transformers.CrossEncoder for this model, or a reranker with a classification head",
    )


def _saved(repo: SentenceRepo | None) -> dict[str, Json]:
    """What CrossEncoder saved beside its modules; nothing for a repo of another class, whose settings it leaves out."""
    path = None if repo is None else repo.folder / CONFIG_FILE
    content = {} if path is None else read_object(path, missing_ok=True)
    return content if content.get("model_type") == "CrossEncoder" else {}


def _other_options(repo: SentenceRepo) -> dict[str, Json]:
    """Options of the Transformer module that are not those of a plain sequence-classification model."""
    options = {"transformer_task": "feature-extraction", **repo.options}
    changed = {name: options[name] for name, plain in _PLAIN.items() if options.get(name, plain) != plain}
    if "message" in (options.get("modality_config") or {}):
        changed.pop("modality_config", None)  # a fact of the scoring: ids can be scored, pairs of strings can't
    return changed | unfollowed({name: value for name, value in options.items() if name not in _PLAIN})


def _has_chat_template(folder: Path) -> bool:
    files = ("chat_template.jinja", "chat_template.json")
    config = read_object(folder / "tokenizer_config.json", missing_ok=True)
    return bool(config.get("chat_template")) or any((folder / name).is_file() for name in files)
