"""A HuggingFace config → the columns of the table of measurements that describe a network."""

from __future__ import annotations

from collections.abc import Mapping

from QEfficient.analysis.layer import layer, passes, size
from QEfficient.errors import UsageError
from QEfficient.records import Json

NAMES: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers", "num_encoder_layers"),
    "hidden_size": ("hidden_size", "dim", "d_model", "n_embd", "emb_dim"),
    "attention_heads": ("num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads"),
    "intermediate_size": (
        "intermediate_size",
        "hidden_dim",
        "ffn_dim",
        "encoder_ffn_dim",
        "d_ff",
        "n_inner",
        "d_inner",
    ),
    "vocab_size": ("vocab_size",),
}
"""Column → what configs call it, in the order of looking."""
MEASURED_AS = {"t5": "t5-encoder"}
"""Model type → what the table calls its encoder."""
PARTS = ("encoder", "text_config")  # where a config of several parts keeps that of the text encoder


def network(config: Mapping[str, Json], task: str) -> dict[str, Json]:
    """The network's columns, for ``recommend`` and as a part of a row for ``predict``.

    ``layers`` are those that run: a layer that is used twelve times counts twelve times. Where a config does not name
    the inner width it is four times the hidden size, as in the first transformers. What else is missing has
    transformers' default of that model type.

    Args:
        config: A parsed ``config.json``.
        task: As HuggingFace names it.

    Raises:
        UsageError: A size is in neither, as in models that read images or audio.
    """
    model_type = str(config.get("model_type", ""))
    whole = _whole(config)
    found = {column: size(whole, names) for column, names in NAMES.items()}
    if not all(found.values()):
        defaults = _whole(_defaults(model_type))
        found = {column: value or size(defaults, NAMES[column]) for column, value in found.items()}
    found["intermediate_size"] = found["intermediate_size"] or 4 * found["hidden_size"]
    missing = [column for column, value in found.items() if not value]
    if missing:
        raise UsageError(
            f"The config does not say {', '.join(missing)}, so no speed can be predicted.",
            got=f"model_type={model_type!r} with {', '.join(sorted(config)) or 'nothing'}",
            allowed="; ".join(f"{column} as {' or '.join(NAMES[column])}" for column in missing),
            do="predict from a row of your own: QEfficient.analysis.predict({…}); only models that read text have one",
        )
    found["layers"] *= passes(whole)
    columns = {"model_type": MEASURED_AS.get(model_type, model_type), "task": task, **found}
    return {**columns, **layer(whole, str(whole.get("model_type", model_type)), found)}


def _whole(config: Mapping[str, Json]) -> Mapping[str, Json]:
    for part in PARTS:
        if isinstance(config.get(part), Mapping):
            config = {**config, **config[part]}
    return config


def _defaults(model_type: str) -> Mapping[str, Json]:
    from transformers import CONFIG_MAPPING

    return dict(CONFIG_MAPPING[model_type]().to_dict()) if model_type in CONFIG_MAPPING else {}
