"""The modules behind a Transformer → the steps of a head, one JSON object each.

- ``{"step": "pooling", "modes": ["mean", …]}``, concatenated in this order; with ``"include_prompt": false`` where
  the prompt's tokens are left out
- ``{"step": "dense", "in": 768, "out": 32, "bias": true, "activation": "Tanh", "weights": "2_Dense/…"}``; with
  ``"residual": true`` where the input is added
- ``{"step": "layer_norm", "dim": 768, "weights": "3_LayerNorm/…"}``
- ``{"step": "normalize"}``
- ``{"step": "layers", "start": 4, "count": 9, "weights": "1_WeightedLayerPooling/…"}``: the weighted mean of the
  encoder's hidden states from ``start`` on (0 is what the embeddings give)

Steps before the pooling work on one vector a token, those behind it on one a text. Names and meanings are those of
sentence-transformers 6.2, which also reads what every version since 0.3 wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from QEfficient.errors import PoolingError, nearest
from QEfficient.hub import malformed, read_object
from QEfficient.records import Json
from QEfficient.sentence_repo.files import Module, size
from QEfficient.sentence_repo.refused import refusal

Step = Mapping[str, Json]
_CHOOSE = 'choose a pooling by name, such as pooling="mean", or pooling=None for token vectors'

# sentence-transformers' name of a mode → ours. Their order is that of its concatenation.
MODES = {
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
ACTIVATIONS = (
    *("CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU"),
    *("LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax"),
    *("Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink"),
)
"""torch.nn's activations that can be made without an argument, as sentence-transformers makes them."""
_ACTIVATION_MODULES = ("torch.nn", "torch.nn.modules", "torch.nn.modules.activation", "torch.nn.modules.linear")
ALONG_THE_VECTOR = ("LogSoftmax", "Softmax", "Softmin")
"""Those that run along a dim. They are made without one, and then torch takes the batch of token vectors: a text would
depend on its neighbours."""


def read_steps(modules: Sequence[Module], repo: Path) -> tuple[Step, ...]:
    """The steps of the modules behind the Transformer, ``modules[0]``.

    Raises:
        PoolingError: A module, an option or an order of modules that is not built.
        LoadError: A module's file is missing or malformed.
    """
    if modules[0].kind != "Transformer":
        raise refusal(modules[0])
    steps: list[Step] = []
    pooled = False
    for module in modules[1:]:
        if module.kind not in _READERS:
            raise refusal(module)
        if module.kind == "Pooling" and pooled:
            raise _no_sentence_vector(modules, repo)
        if module.kind != "Pooling":
            _check_place(module, "sentence_embedding" if pooled else "token_embeddings", modules, repo)
        steps += _READERS[module.kind](module, repo)
        pooled = pooled or module.kind == "Pooling"
    if not pooled:
        raise _no_sentence_vector(modules, repo)
    # Without the hidden states sentence-transformers passes the last ones on, whatever the weights say.
    layers = read_object(modules[0].folder / "config.json", missing_ok=True).get("output_hidden_states")
    return tuple(step for step in steps if layers or step["step"] != "layers")


def _check_place(module: Module, stage: str, modules: Sequence[Module], repo: Path) -> None:
    """A module must work on what the one before it gave: token vectors before the pooling, then sentence vectors."""
    config = module.config(missing_ok=True)
    if module.kind == "WeightedLayerPooling":
        takes: Json = "token_embeddings"
    elif module.kind in ("Dense", "Normalize"):
        takes = config.get("module_input_name", "sentence_embedding")
    else:
        takes = "sentence_embedding"
    if takes != stage:
        raise _no_sentence_vector(modules, repo)
    gives = config.get("module_output_name")
    if gives is not None and gives != takes:
        raise PoolingError(
            f"The repo's {module.kind} module does not give back what it works on.",
            got=f"module_input_name={takes!r}, module_output_name={gives!r}",
            allowed="the same name for both",
            do=_CHOOSE,
        )


def _no_sentence_vector(modules: Sequence[Module], repo: Path) -> PoolingError:
    return PoolingError(
        "The repo's modules do not give a sentence vector in an order that is built here.",
        got=f"{', '.join(module.kind for module in modules)} in {repo}",
        allowed="Transformer; WeightedLayerPooling, Dense or Normalize on token_embeddings; one Pooling; then Dense, "
        "LayerNorm, Normalize or Dropout on sentence_embedding",
        do=_CHOOSE,
    )


def _pooling(module: Module, repo: Path) -> list[Step]:
    config = module.config()
    if "pooling_mode" not in config:
        # sentence-transformers takes the mean where no flag is set.
        modes = [mode for flag, mode in _FLAGS.items() if config.get(flag)] or ["mean"]
        unknown = [name for name in config if name.startswith("pooling_mode_") and name not in _FLAGS and config[name]]
    else:
        given = config["pooling_mode"]
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not given:
            raise malformed(module.folder / "config.json", "pooling_mode as a name or a list of names")
        modes = [MODES[name] for name in given if name in MODES]
        unknown = [str(name) for name in given if name not in MODES]
    if unknown:
        raise PoolingError(
            "The repo asks for a pooling mode that is not supported." + nearest(unknown[0], list(MODES)),
            got=", ".join(unknown),
            allowed=", ".join(MODES),
            do='choose a pooling by name, such as pooling="mean"',
        )
    step: dict[str, Json] = {"step": "pooling", "modes": modes}
    return [step if config.get("include_prompt", True) else step | {"include_prompt": False}]


def _dense(module: Module, repo: Path) -> list[Step]:
    config = module.config()
    step: dict[str, Json] = {
        "step": "dense",
        "in": size(config, "in_features", module.folder),
        "out": size(config, "out_features", module.folder),
        "bias": bool(config.get("bias", True)),
        "activation": _activation(config),
        "weights": module.weights(repo),
    }
    return [step | {"residual": True} if config.get("use_residual") else step]


def _activation(config: Mapping[str, Json]) -> str:
    dotted = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    place, _, name = dotted.rpartition(".") if isinstance(dotted, str) else ("", "", "")
    tokens = config.get("module_input_name") == "token_embeddings"
    if place not in _ACTIVATION_MODULES or name not in ACTIVATIONS or (tokens and name in ALONG_THE_VECTOR):
        raise PoolingError(
            "The activation of the repo's Dense module is not supported." + nearest(name, ACTIVATIONS),
            got=f"activation_function={dotted!r}" + (" on token_embeddings" if tokens else ""),
            allowed=f"{', '.join(ACTIVATIONS)} of torch.nn; on token vectors all but {', '.join(ALONG_THE_VECTOR)}",
            do="apply this module outside, to the vectors that the modules before it give",
        )
    return name


def _layer_norm(module: Module, repo: Path) -> list[Step]:
    dim = size(module.config(), "dimension", module.folder)
    return [{"step": "layer_norm", "dim": dim, "weights": module.weights(repo)}]


def _normalize(module: Module, repo: Path) -> list[Step]:
    return [{"step": "normalize"}]


def _dropout(module: Module, repo: Path) -> list[Step]:
    return []  # it does nothing outside of training


def _weighted_layers(module: Module, repo: Path) -> list[Step]:
    config = module.config()
    start, layers = config.get("layer_start", 4), config.get("num_hidden_layers", 12)
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (start, layers)) or not 0 <= start <= layers:
        raise malformed(module.folder / "config.json", "layer_start from 0 to num_hidden_layers")
    return [{"step": "layers", "start": start, "count": layers + 1 - start, "weights": module.weights(repo)}]


_READERS: Mapping[str, Callable[[Module, Path], list[Step]]] = {
    "Pooling": _pooling,
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _normalize,
    "Dropout": _dropout,
    "WeightedLayerPooling": _weighted_layers,
}
