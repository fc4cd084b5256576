"""The repo as a whole: modules, prompts and limits.

File names and meanings are those of sentence-transformers 6.2 (``base/model.py``, ``base/modules/router.py``), which
also reads what every version since 0.3 wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from QEfficient import hub
from QEfficient.errors import LoadError, PoolingError, nearest
from QEfficient.records import Json
from QEfficient.sentence_repo import files
from QEfficient.sentence_repo.files import Module
from QEfficient.sentence_repo.refused import refusal
from QEfficient.sentence_repo.routes import ROUTERS, Route, follow
from QEfficient.sentence_repo.steps import Step, read_steps
from QEfficient.sentence_repo.transformer import TOKENIZING, check_options

CONFIG_FILE = "config_sentence_transformers.json"

# Modules that wrap a HuggingFace model; the vectors of the latter two are refused with the steps.
_OWN = "SentenceTransformer"
_ENCODERS = ("Transformer", "CLIPModel", "MLMTransformer")
_PROMPTED = ("query", "document")  # names that sentence-transformers gives an empty prompt where the repo has none
_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@dataclass(frozen=True, slots=True)
class SentenceRepo:
    """What a sentence-transformers repo says, apart from the weights.

    Attributes:
        folder: The repo.
        modules: As listed in ``modules.json``; those of one route in place of a Router.
        transformer: Folder of the Transformer module: the model's config, weights and tokenizer.
        max_seq_length: Tokens after which a text is cut; ``None`` when the repo names no limit.
        lower_case: Lower-case strings before tokenising.
        prompts: Prompt name → text put before a string.
        default_prompt: Name of the prompt that is used when the caller names none.
        similarity: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``.
        truncate_dim: Leading dims to keep, or ``None``.
        options: The Transformer module's own config.
        tokenizer: Its keywords for the tokenizer, in place of what ``tokenizer_config.json`` says.
        saved_as: The class of sentence-transformers that saved the repo.
        route: Name of the route that was followed; ``None`` for a repo without a Router.
        tasks: Of a Router: task (``""`` is none, as ``encode`` has it) → the route that makes its vectors.
    """

    folder: Path
    modules: tuple[Module, ...]
    transformer: Path
    max_seq_length: int | None = None
    lower_case: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str = "cosine"
    truncate_dim: int | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    tokenizer: Mapping[str, Json] = field(default_factory=dict)
    saved_as: str = _OWN
    route: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The modules behind the Transformer, one JSON object each, in order, as ``sentence_repo.steps`` lists them.

        Read when asked for: a caller who names a pooling himself does not need them to be supported.

        Raises:
            PoolingError: A module, or an option of one, that this library does not build.
            LoadError: A module's file is missing or malformed.
        """
        if self.saved_as != _OWN:
            raise _other_class(self.saved_as, self.folder)
        check_options(self.options)
        return read_steps(self.modules, self.folder)


def modules_of(folder: Path, route: str | None = None) -> Route | None:
    """The modules of a repo along one route; ``None`` when the folder has no ``modules.json``. Nothing else is read.

    Args:
        folder: The repo.
        route: Of a repo with a Router, the route to follow; left out, the one that ``encode`` takes.

    Raises:
        LoadError: A listing is malformed, the first module is not a Transformer, or there is no such route.
    """
    modules = files.read_modules(folder)
    routed = any(module.kind in ROUTERS for module in modules or ())
    if route is not None and not routed:
        raise LoadError(
            "The model has no routes: only a sentence-transformers repo with a Router has.",
            got=f"route={route!r} for {folder}",
            allowed="no route",
            do="leave route out",
        )
    if modules is None:
        return None
    along = follow(modules, route, folder) if routed else Route(modules)
    _check_first(along.modules)
    return along


def read(folder: Path, along: Route | None = None) -> SentenceRepo | None:
    """Reads a repo; ``None`` when the folder has no ``modules.json``.

    Args:
        folder: The repo.
        along: As :func:`modules_of` gave it, for those along a route of the caller's.

    Raises:
        LoadError: As there, or another file is malformed.
    """
    along = along or modules_of(folder)
    if along is None:
        return None
    transformer = along.modules[0].folder
    options = files.read_options(transformer)
    config = hub.read_object(folder / CONFIG_FILE, missing_ok=True)
    given = options.get("processor_kwargs") or options.get("tokenizer_args") or {}
    tokenizer = {name: given[name] for name in given if name in TOKENIZING} if isinstance(given, dict) else {}
    limit = files.size_or_none(tokenizer, "model_max_length", transformer)  # goes before the module's own
    similarity = config.get("similarity_fn_name")
    return SentenceRepo(
        folder=folder,
        modules=along.modules,
        transformer=transformer,
        max_seq_length=limit or files.size_or_none(options, "max_seq_length", transformer),
        lower_case=bool(options.get("do_lower_case", False)),
        prompts=_prompts(config, folder / CONFIG_FILE),
        default_prompt=config.get("default_prompt_name"),
        # As sentence-transformers: a similarity that it doesn't know is its default.
        similarity=similarity if similarity in _SIMILARITIES else "cosine",
        truncate_dim=files.size_or_none(config, "truncate_dim", folder),
        options=options,
        tokenizer=tokenizer,
        saved_as=str(config.get("model_type") or _OWN),
        route=along.name,
        tasks=along.tasks,
    )


def _check_first(modules: tuple[Module, ...]) -> None:
    if modules and modules[0].kind in _ENCODERS:
        return
    reason = f" {refusal(modules[0]).what}" if modules else ""
    raise LoadError(
        f"The repo's first module is not a Transformer.{reason}",
        got=modules[0].type if modules else "no modules",
        allowed="sentence_transformers.models.Transformer, or its newer dotted names",
        do=refusal(modules[0]).do if modules else "use a repo that is built on a HuggingFace transformer",
    )


def _other_class(name: str, folder: Path) -> PoolingError:
    return PoolingError(
        "The repo's modules are those of another class of sentence-transformers, and make no sentence vectors.",
        got=f"model_type={name!r} in {folder / CONFIG_FILE}",
        allowed=f"{_OWN}, or no model_type",
        do='choose a pooling by name: SentenceTransformer itself takes pooling="mean" of such a repo, or '
        'pooling="last_token" of a decoder; a CrossEncoder is loaded with QEFFAutoModelForSequenceClassification',
    )


def _prompts(config: Mapping[str, Json], path: Path) -> dict[str, str]:
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise hub.malformed(path, "prompts as an object of strings")
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts and default not in _PROMPTED:
        raise LoadError(
            "The repo's default prompt is not one of its prompts." + nearest(str(default), list(prompts)),
            got=default,
            allowed=", ".join(prompts) or "no default prompt, as there are no prompts",
            do=f"correct default_prompt_name in {path}",
        )
    return {name: text or "" for name, text in prompts.items()}
