"""Reads a sentence-transformers repo: its modules, prompts and limits. Needs no torch.

File names and meanings are those of sentence-transformers 6.2 (``base/model.py``, ``modules/pooling.py``,
``modules/dense.py``), which also reads what every version since 0.3 wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from QEfficient.errors import LoadError, PoolingError, nearest
from QEfficient.hub import inside, read_json
from QEfficient.records import Json

# sentence-transformers' name of a mode → ours. Their order is that of its concatenation.
_MODES = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
}
# The flags that versions before 6 wrote, in the same order.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last_token",
}
_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
_TRANSFORMER_FILES = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# The text road of the Transformer module; any other asks another method of the model, or a chat template.
_TEXT_ROAD = {"method": "forward", "method_output_name": "last_hidden_state"}
_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


@dataclass(frozen=True, slots=True)
class Module:
    """One entry of ``modules.json``: the class's dotted name, and the module's folder."""

    type: str
    folder: Path

    @property
    def kind(self) -> str:
        """The class's name where it is sentence-transformers' own, else the dotted name."""
        return self.type.rpartition(".")[2] if self.type.startswith("sentence_transformers.") else self.type


@dataclass(frozen=True, slots=True)
class SentenceRepo:
    """What a sentence-transformers repo says, apart from the weights.

    Attributes:
        folder: The repo.
        modules: As listed in ``modules.json``.
        transformer: Folder of the Transformer module: the model's config, weights and tokenizer.
        max_seq_length: Tokens after which a text is cut; ``None`` when the repo names no limit.
        lower_case: Lower-case strings before tokenising.
        prompts: Prompt name → text put before a string.
        default_prompt: Name of the prompt that is used when the caller names none.
        similarity: ``"cosine"``, ``"dot"``, ``"euclidean"`` or ``"manhattan"``.
        truncate_dim: Leading dims to keep, or ``None``.
        options: The Transformer module's own config.
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

    @property
    def steps(self) -> tuple[Mapping[str, Json], ...]:
        """The modules behind the Transformer, one JSON object each, in order.

        Read when asked for: a caller who names a pooling himself does not need them to be supported.

        - ``{"step": "pooling", "modes": ["mean", …]}``, concatenated in this order
        - ``{"step": "dense", "in": 768, "out": 32, "bias": true, "activation": "torch.nn.…", "weights": "2_Dense/…"}``
        - ``{"step": "normalize"}``

        Raises:
            PoolingError: A module, or an option of one, that this library does not build.
            LoadError: A module's file is missing or malformed.
        """
        _check_transformer(self)
        read_step = {"Pooling": _pooling, "Dense": _dense, "Normalize": _normalize}
        for module in self.modules[1:]:
            if module.kind not in read_step:
                raise _unknown_module(module)
        steps = tuple(read_step[module.kind](module, self.folder) for module in self.modules[1:])
        kinds = [step["step"] for step in steps]
        if kinds[:1] != ["pooling"] or kinds.count("pooling") > 1:
            raise PoolingError(
                "The repo's modules give no sentence vector: one Pooling must follow the Transformer.",
                got=f"{', '.join(module.kind for module in self.modules)} in {self.folder}",
                allowed="Transformer, Pooling, then any number of Dense and Normalize",
                do='choose a pooling by name, such as pooling="mean", or pooling=None for token vectors',
            )
        return steps

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights of the Dense modules, in order."""
        return tuple(self.folder / step["weights"] for step in self.steps if step["step"] == "dense")

    @property
    def include_prompt(self) -> bool:
        """False when pooling leaves out the prompt's tokens."""
        configs = (_module_config(module) for module in self.modules if module.kind == "Pooling")
        return all(config.get("include_prompt", True) for config in configs)


def read(folder: Path) -> SentenceRepo | None:
    """Reads a repo; ``None`` when the folder has no ``modules.json``.

    Raises:
        LoadError: A file is malformed, or the first module is not a Transformer.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return None
    modules = _modules(folder, listing)
    transformer = modules[0].folder
    options = _transformer_options(transformer)
    config = _object(folder / "config_sentence_transformers.json", missing_ok=True)
    prompts = _prompts(config, folder)
    similarity = config.get("similarity_fn_name")
    return SentenceRepo(
        folder=folder,
        modules=modules,
        transformer=transformer,
        max_seq_length=_size(options, "max_seq_length", transformer, optional=True),
        lower_case=bool(options.get("do_lower_case", False)),
        prompts=prompts,
        default_prompt=config.get("default_prompt_name"),
        # As sentence-transformers: a similarity that it doesn't know is its default.
        similarity=similarity if similarity in _SIMILARITIES else "cosine",
        truncate_dim=_size(config, "truncate_dim", folder, optional=True),
        options=options,
    )


def _modules(folder: Path, listing: Path) -> tuple[Module, ...]:
    entries = read_json(listing)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("type"), str) and isinstance(entry.get("path"), str)
        for entry in entries
    ):
        raise _malformed(listing, "a list of objects with type and path")
    modules = tuple(Module(entry["type"], inside(folder, entry["path"], listing)) for entry in entries)
    if not modules or modules[0].kind != "Transformer":
        raise LoadError(
            "The repo's first module is not a Transformer.",
            got=modules[0].type if modules else "no modules",
            allowed="sentence_transformers.models.Transformer, or its newer dotted names",
            do="use a repo that is built on a HuggingFace transformer",
        )
    return modules


def _transformer_options(folder: Path) -> Mapping[str, Json]:
    """The Transformer module's config, under the first of its names that holds something."""
    for name in _TRANSFORMER_FILES:
        options = _object(folder / name, missing_ok=True)
        if options:
            return options
    return {}


def _prompts(config: Mapping[str, Json], folder: Path) -> dict[str, str]:
    path = folder / "config_sentence_transformers.json"
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise _malformed(path, "prompts as an object of strings")
    default = config.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise LoadError(
            "The repo's default prompt is not one of its prompts." + nearest(str(default), list(prompts)),
            got=default,
            allowed=", ".join(prompts) or "no default prompt, as there are no prompts",
            do=f"correct default_prompt_name in {path}",
        )
    return {name: text or "" for name, text in prompts.items()}


def _check_transformer(repo: SentenceRepo) -> None:
    """Refuses options of the Transformer module that would change its vectors and that nothing here follows."""
    options = dict(repo.options)
    unknown = {
        name: options[name]
        for name in ("processing_kwargs", "processor_kwargs", "tokenizer_args", "config_args", "config_kwargs")
        if options.get(name)
    }
    if options.get("transformer_task", "feature-extraction") != "feature-extraction":
        unknown["transformer_task"] = options["transformer_task"]
    if options.get("module_output_name", "token_embeddings") != "token_embeddings":
        unknown["module_output_name"] = options["module_output_name"]
    roads = options.get("modality_config", {"text": _TEXT_ROAD})
    if not isinstance(roads, dict) or roads.get("text") != _TEXT_ROAD:
        unknown["modality_config"] = options["modality_config"]
    if unknown:
        raise PoolingError(
            "The repo's Transformer module has options that are not supported.",
            got=", ".join(f"{name}={value!r}" for name, value in unknown.items()),
            allowed="max_seq_length, do_lower_case, and the plain text road through the model's forward",
            do='choose a pooling by name, such as pooling="mean", if these options do not matter to you',
        )


def _pooling(module: Module, repo: Path) -> Mapping[str, Json]:
    config = _module_config(module)
    if "pooling_mode" not in config:
        # sentence-transformers takes the mean where no flag is set.
        modes = [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"]
        unknown = [name for name in config if name.startswith("pooling_mode_") and name not in _FLAGS and config[name]]
    else:
        given = config["pooling_mode"]
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not given:
            raise _malformed(module.folder / "config.json", "pooling_mode as a name or a list of names")
        modes = [_MODES[name] for name in given if name in _MODES]
        unknown = [str(name) for name in given if name not in _MODES]
    if unknown:
        raise PoolingError(
            "The repo asks for a pooling mode that is not supported." + nearest(unknown[0], list(_MODES)),
            got=", ".join(unknown),
            allowed=", ".join(_MODES),
            do='choose a pooling by name, such as pooling="mean"',
        )
    return {"step": "pooling", "modes": modes}


def _dense(module: Module, repo: Path) -> Mapping[str, Json]:
    config = _module_config(module)
    _refuse_other_inputs(module, config)
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if config.get("use_residual") or not isinstance(activation, str) or not activation.startswith("torch.nn."):
        raise PoolingError(
            "The repo's Dense module has an option that is not supported.",
            got=f"use_residual={config.get('use_residual', False)}, activation_function={activation!r}",
            allowed="no residual, and an activation class of torch.nn",
            do="apply this module outside, to the vectors that pooling gives",
        )
    return {
        "step": "dense",
        "in": _size(config, "in_features", module.folder),
        "out": _size(config, "out_features", module.folder),
        "bias": bool(config.get("bias", True)),
        "activation": activation,
        "weights": _dense_weights(module.folder).relative_to(repo).as_posix(),
    }


def _dense_weights(folder: Path) -> Path:
    names = ("model.safetensors", "pytorch_model.bin")  # in the order in which sentence-transformers looks
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise LoadError(
        "A Dense module has no weights.",
        got=str(folder),
        allowed=" or ".join(names),
        do="download the model again with force_download=True",
    )


def _normalize(module: Module, repo: Path) -> Mapping[str, Json]:
    _refuse_other_inputs(module, _object(module.folder / "config.json", missing_ok=True))
    return {"step": "normalize"}


def _refuse_other_inputs(module: Module, config: Mapping[str, Json]) -> None:
    names = {config.get(key) for key in ("module_input_name", "module_output_name")}
    if not names <= {None, "sentence_embedding"}:
        raise PoolingError(
            f"The repo's {module.kind} module does not work on the sentence vector.",
            got=", ".join(sorted(str(name) for name in names)),
            allowed="sentence_embedding",
            do='choose a pooling by name, such as pooling="mean", or pooling=None for token vectors',
        )


def _unknown_module(module: Module) -> PoolingError:
    return PoolingError(
        f"The repo has a module that is not supported: {module.kind}." + nearest(module.kind, _KINDS),
        got=f"{module.type} in {module.folder.name}",
        allowed=f"sentence-transformers' own {', '.join(_KINDS)}",
        do='choose a pooling by name, such as pooling="mean", if the repo\'s own vectors are not needed',
    )


def _module_config(module: Module) -> Mapping[str, Json]:
    return _object(module.folder / "config.json")


def _object(path: Path, *, missing_ok: bool = False) -> dict[str, Json]:
    if missing_ok and not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise _malformed(path, "a JSON object")
    return content


def _size(config: Mapping[str, Json], name: str, folder: Path, *, optional: bool = False) -> Json:
    value = config.get(name)
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LoadError(
            f"{name} of a sentence-transformers repo is not a size.",
            got=f"{value!r} in {folder}",
            allowed="a whole number from 1",
            do="correct the module's JSON file",
        )
    return value


def _malformed(path: Path, expected: str) -> LoadError:
    return LoadError(
        f"{path.name} of a sentence-transformers repo is malformed.",
        got=str(path),
        allowed=expected,
        do="restore the file, or download the model again with force_download=True",
    )
