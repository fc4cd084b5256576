"""A ``SentenceTransformer`` around a module, with the steps that the QEff object has behind it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from QEfficient.errors import PoolingError
from QEfficient.records import Json, TextFacts
from QEfficient.source.loading import load

if TYPE_CHECKING:
    from torch import nn

_MODES = {"last_token": "lasttoken", "weighted_mean": "weightedmean", "mean_sqrt_len": "mean_sqrt_len_tokens"}
"""Our name of a pooling → sentence-transformers', where it is another."""

_TOKENS, _SENTENCE = "token_embeddings", "sentence_embedding"


@dataclass(frozen=True, slots=True)
class SentenceHead:
    """What stands behind the module.

    Attributes:
        steps: As ``QEfficient.source.head.Head`` has them.
        folder: Where the weights of steps are found; ``None`` where there are none.
        text: Limit, prompts and similarity of the model; ``None`` for a module in memory.
    """

    steps: Sequence[Mapping[str, Json]]
    folder: Path | None = None
    text: TextFacts | None = None


def sentence_transformer(module: nn.Module, tokenizer: Any, head: SentenceHead, max_length: int | None = None) -> Any:
    """The ``SentenceTransformer``; its first part holds the module itself, not a copy.

    Args:
        module: An encoder of transformers.
        tokenizer: HuggingFace's.
        head: What stands behind it.
        max_length: Tokens after which texts are cut; ``None``: the model's own limit.

    Raises:
        PoolingError: There is no pooling, or sentence-transformers has no such step.
    """
    from sentence_transformers import SentenceTransformer, SimilarityFunction

    if not head.steps:
        raise PoolingError(
            "Without pooling there is no vector of a text to train.",
            got="pooling=None",
            allowed='a pooling, such as from_pretrained(…, pooling="mean")',
            do="load the model with the pooling that it is to be used with",
        )
    text = head.text
    limit = max_length if text is None else min(max_length or text.max_length, text.max_length)
    first = transformer(module, tokenizer, limit, bool(text and text.lower_case))
    modules, width, stage = [first], first.get_embedding_dimension(), _TOKENS
    for step in head.steps:
        made, width = _module(step, width, stage, head.folder)
        modules.append(made)
        stage = _SENTENCE if step["step"] == "pooling" else stage
    if text is None:
        return SentenceTransformer(modules=modules, device="cpu")
    return SentenceTransformer(
        modules=modules,
        device="cpu",
        prompts=dict(text.prompts),
        default_prompt_name=text.default_prompt,
        similarity_fn_name=SimilarityFunction(text.similarity),
        truncate_dim=text.truncate_dim,
    )


def transformer(module: nn.Module, tokenizer: Any, limit: int | None, lower_case: bool, task: str | None = None) -> Any:
    """sentence-transformers' first part around a module. It takes a folder only, so it is made of one that holds both.

    Args:
        module: A model of transformers.
        tokenizer: HuggingFace's.
        limit: Tokens after which texts are cut.
        lower_case: Whether they are lower-cased.
        task: As sentence-transformers calls it; ``None``: vectors.
    """
    from safetensors.torch import save_model
    from sentence_transformers.base.modules import Transformer

    from QEfficient.pytorch_transforms.widths import read_widths

    config: Any = copy.deepcopy(module.config)
    config.architectures = [type(module).__name__]
    more: dict[str, Any] = {} if task is None else {"transformer_task": task}
    # what it reads is replaced at once, so a module whose layers have widths of their own need not be read well
    more |= {"model_kwargs": {"ignore_mismatched_sizes": True}} if read_widths(config) else {}

    def read() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            # the module's own save_pretrained writes in the first of several processes only
            config.save_pretrained(folder)
            save_model(module, f"{folder}/model.safetensors", metadata={"format": "pt"})
            tokenizer.save_pretrained(folder)
            return Transformer(folder, max_seq_length=limit, do_lower_case=lower_case, **more)

    made = load(read)
    made.model = module
    return made


def _module(step: Mapping[str, Json], width: int, stage: str, folder: Path | None) -> tuple[Any, int]:
    """A step as sentence-transformers' module, and the width of what it gives."""
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

    match step["step"]:
        case "pooling":
            modes = tuple(_MODES.get(mode, mode) for mode in step["modes"])
            pooling = Pooling(width, modes, include_prompt=step.get("include_prompt", True))
            return pooling, pooling.pooling_output_dimension
        case "dense":
            dense = Dense(
                step["in"],
                step["out"],
                bias=step["bias"],
                activation_function=_activation(step["activation"]),
                module_input_name=stage,
                use_residual=step.get("residual", False),
            )
            return _loaded(dense, step, folder), step["out"]
        case "layer_norm":
            return _loaded(LayerNorm(step["dim"]), step, folder), step["dim"]
        case "normalize":
            return Normalize(module_input_name=stage), width
    raise PoolingError(
        "This step behind the model can't be trained: sentence-transformers has none like it.",
        got=dict(step),
        allowed="pooling by name (but for 'pooler_output'), dense, layer_norm, normalize",
        do='load the model with a pooling by name, such as pooling="mean"',
    )


def _activation(name: str) -> Callable[[Any], Any]:
    from torch import nn

    made: Callable[[Any], Any] = getattr(nn, name)()
    return made


def _loaded(module: Any, step: Mapping[str, Json], folder: Path | None) -> Any:
    from QEfficient.pytorch_transforms.vectors import load_into

    return load_into(module, Path(folder or ".") / step["weights"]).requires_grad_(True)
