"""What is known about a HuggingFace model type."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from QEfficient.errors import NotYetSupportedError
from QEfficient.records import Caches, Json, RowRules, TensorSpec, TextFacts, TokenInput

if TYPE_CHECKING:
    from torch import nn

    from QEfficient.pytorch_transforms.blocks import Swap

Config = Mapping[str, Json]
"""A parsed ``config.json``. A key that is missing there means transformers' own default."""


def always(config: Config) -> bool:
    """Whatever the config says."""
    return True


def never_pads(config: Config) -> bool:
    """For ``pads``: what stands behind a row changes its numbers, in HuggingFace's model too."""
    return False


def never(config: Config) -> None:
    """No reason against it."""


def shortest_clip(frames: Sequence[tuple[int, ...]]) -> int:
    """Least samples that make one frame.

    Args:
        frames: Kernel and stride of each convolution between samples and frames; none: 1.
    """
    samples = 1
    for kernel, stride in reversed(frames):
        samples = (samples - 1) * stride + kernel
    return samples


def no_frames(config: Config) -> tuple[tuple[int, int], ...]:
    """One position a token."""
    return ()


ON_A_PAGE = {"AutoModelForQuestionAnswering": "AutoModelForDocumentQuestionAnswering"}
"""For ``loaded_by``: transformers has the type's extractive question answering under documents only."""


def boxes(config: Config, *, ordered: bool = True) -> tuple[TokenInput, ...]:
    """A box on the page for every token, as the LayoutLMs have it; (0, 0, 0, 0) where it is left out."""
    size = int(config.get("max_2d_position_embeddings", 1024))
    return (TokenInput("bbox", (4,), below=(size,), boxes=True, ordered=ordered),)


def no_more(config: Config) -> tuple[TokenInput, ...]:
    """Ids, mask and types."""
    return ()


@dataclass(frozen=True, slots=True)
class Reach:
    """Which lengths a model takes: tokens of a text, samples of a clip.

    Attributes:
        limit: The most, ``None`` where the architecture sets none.
        whole: The most that HuggingFace's own model takes; longer texts are shortened to it, as they are there.
        shortest: The least.
        first, last: First and last default bucket where nothing else says it.
        free: False when rows have no length of their own: images of one size.
    """

    limit: int | None
    whole: int | None
    shortest: int = 1
    first: int = 32
    last: int = 512
    free: bool = True

    def longest(self, text: TextFacts) -> int:
        """The last of ``compile``'s default buckets: what text and model take; 1 where the inputs have one size."""
        return min(text.max_length, self.limit or self.last) if self.free else 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """Facts about one model type. Reading them needs no torch; :meth:`swaps` imports it.

    Attributes:
        model_type: As in ``config.json``.
        limit: Config → most tokens that a row can have, or ``None`` where positions are relative.
        whole: Config → the same in HuggingFace's model, where that takes longer rows than are right here. A text
            between the two is refused, not shortened.
        default_pad_id: transformers' pad token id when the config names none.
        zero_types: False where token types of 0 are not what the model takes when it is given none: it looks them up
            among its words, or compares them with one another.
        mask: ``"additive"``: the model takes a finished 4-D mask as it is. ``"own"``: it makes one itself.
            ``"float"``: so it does, by subtracting from 1.0, which the exporter only takes of floats.
        blocks: Block of transformers, ``"<package of transformers.models>.<class>"``, or with the file's name between
            the two where it is not ``modeling_<package>`` → the block that takes its place, ``"<file of
            pytorch_transforms>.<class>"``.
        part: ``"encoder"`` where the encoder is a part of the model, reached by ``get_encoder()``.
        inputs: Config → the graph's inputs, where they are not those of a text model: images or clips.
        more: Config → the graph's inputs beside ids, mask and types, where it is a text model's. One of these names
            takes the place of theirs.
        left_out: Inputs of HuggingFace's model that a graph can't have → why, or ``""``; those that all types of
            transformers have need not be listed.
        loaded_by: Auto class of a task → that of transformers which has this type's model for it, where it is another.
        outputs: What ``QEFFAutoModel`` gives in place of the one ``"output"``: attributes of HuggingFace's output.
        projections: Class that puts a projection behind the model → what ``QEFFAutoModel`` gives of it, likewise.
        ends: True where the pooled output is the state of a row's first end token.
        pads: Config → False where a row's numbers depend on the padding beside it, in HuggingFace's model too.
        frames: Config → kernel and stride of each convolution that turns samples into frames; none else.
        lengths: First and last default bucket, where the type sets no limit and the tokenizer none: tokens or samples.
        routed: True where a router sends each token to some of many experts. Rounding to less than fp32 sends one
            elsewhere where two experts are near, so there a verification goes by the mean.
        refused: Config → why this type can't be right, or ``None``.
        caches: Where it is known to write text: function of ``architectures.caches``, see :meth:`layers_keep`. Other
            types are tried, as ``as_configured`` there says.
        crosses: Where it may write text about a source, which its encoder reads: the same of its decoder's layers.
        writes: Config → why this model can't write text though its type can, or ``None``.
    """

    model_type: str
    limit: Callable[[Config], int | None]
    whole: Callable[[Config], int | None] | None = None
    default_pad_id: int | None = None
    zero_types: bool = True
    mask: Literal["additive", "own", "float"] = "own"
    blocks: Mapping[str, str] = field(default_factory=dict)
    part: Literal["whole", "encoder"] = "whole"
    inputs: Callable[[Config], tuple[TensorSpec, ...]] | None = None
    more: Callable[[Config], tuple[TokenInput, ...]] = no_more
    left_out: Mapping[str, str] = field(default_factory=dict)
    loaded_by: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    projections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ends: bool = False
    pads: Callable[[Config], bool] = always
    frames: Callable[[Config], tuple[tuple[int, int], ...]] = no_frames
    lengths: tuple[int, int] = (32, 512)
    routed: bool = False
    refused: Callable[[Config], str | None] = never
    caches: str | None = None
    crosses: str | None = None
    writes: Callable[[Config], str | None] = never

    def check(self, config: Config) -> None:
        """Refuses a model that can't be right.

        Raises:
            NotYetSupportedError: Names the type and the reason.
        """
        reason = self.refused(config)
        if reason is not None:
            raise NotYetSupportedError(
                f"Models of the type {self.model_type!r} are not supported: {reason}.",
                got=f"model_type={self.model_type!r}",
                allowed="the types of the table in docs/reference/supported_models.md",
                do="use transformers for this model, or choose one of another type",
            )

    def reach(self, config: Config) -> Reach:
        """Which lengths a model takes.

        Raises:
            NotYetSupportedError: As :meth:`check`.
        """
        self.check(config)
        limit, whole = self.limit(config), self.whole_length(config)
        return Reach(limit, whole, self.shortest(config), *self.lengths, free=self.has_length(config))

    def has_length(self, config: Config) -> bool:
        """Whether rows have a length of their own: texts and clips, not images of one size."""
        return self.inputs is None or any("seq_len" in spec.shape for spec in self.inputs(config))

    def shortest(self, config: Config) -> int:
        """Least length of a row: 1 token, or the samples of one frame."""
        return shortest_clip(self.frames(config))

    def max_length(self, config: Config) -> int | None:
        """Most tokens that a row can have; ``None`` where the architecture sets no limit."""
        return self.limit(config)

    def whole_length(self, config: Config) -> int | None:
        """As :meth:`max_length`, of HuggingFace's own model."""
        if self.whole is not None:
            return self.whole(config)
        return (positions(config, 0) if other_angles(config) else None) or self.limit(config)

    def pad_id(self, config: Config) -> int | None:
        """Token id that fills a row; ``None`` where the config names none that the table of words has."""
        found = config.get("pad_token_id", self.default_pad_id)
        found = self.default_pad_id if found is None else int(found)
        return found if found is None or is_word(config, found) else None

    def rules(self, config: Config, inputs: Sequence[TensorSpec]) -> RowRules:
        """What a row may look like, for a graph with these inputs."""
        names, more = {spec.name for spec in inputs}, self.more(config)
        missing = {one.name: "" for one in more if one.name not in names}
        return RowRules(
            pads=self.pads(config),
            frames=self.frames(config),
            zero_types=self.zero_types,
            more=tuple(one for one in more if one.name in names),
            left_out={name: why for name, why in {**self.left_out, **missing}.items() if name not in names},
        )

    def mask_kind(self, config: Config) -> Literal["additive", "own", "float"]:
        """As :attr:`mask`; a model that is set up as a decoder needs its own, causal one."""
        return "own" if config.get("is_decoder") else self.mask

    def encoder_of(self, model: nn.Module) -> nn.Module:
        """The module that turns token ids into states."""
        config = getattr(model, "config", None)
        if self.part == "encoder" or getattr(config, "is_encoder_decoder", False):
            get: Any = getattr(model, "get_encoder", None)
            encoder: nn.Module = model if get is None else get()
            return encoder
        return model

    def layers_keep(self) -> Callable[[Config], Caches]:
        """Config of the loaded model, under the usual names → what its layers keep of earlier tokens.

        Imported on use, as blocks are: an encoder's facts need no rule of decoders.
        """
        return _cache_rule(self.caches or "as_configured")

    def cross_layers_keep(self) -> Callable[[Config], Caches] | None:
        """As :meth:`layers_keep`, of a decoder that writes about what an encoder reads; ``None``: its type does not.

        No type is tried that is not known to.
        """
        return None if self.crosses is None else _cache_rule(self.crosses)

    def swaps(self) -> tuple[Swap, ...]:
        """The block swaps of this architecture. Imports torch and the model's code."""
        from QEfficient.pytorch_transforms.blocks import Swap  # torch stays out of the warm path

        return tuple(Swap(_theirs(source), _ours(target)) for source, target in self.blocks.items())


def _cache_rule(name: str) -> Callable[[Config], Caches]:
    rule: Callable[[Config], Caches] = getattr(importlib.import_module("QEfficient.architectures.caches"), name)
    return rule


def _theirs(path: str) -> Any:
    package, *file, name = path.split(".")
    module = ".".join((package, *(file or [f"modeling_{package}"])))
    return getattr(importlib.import_module(f"transformers.models.{module}"), name)


def _ours(path: str) -> Any:
    file, _, name = path.partition(".")
    return getattr(importlib.import_module(f"QEfficient.pytorch_transforms.{file}"), name)


def is_word(config: Config, token: int) -> bool:
    """Whether a token id can be looked up, as far as the config says how many there are."""
    words = (config.get("text_config") or config).get("vocab_size")
    return token >= 0 and (not isinstance(words, int) or token < words)


def no_limit(config: Config) -> int | None:
    """Relative positions: any length."""
    return None


def positions(config: Config, default: int = 512, key: str = "max_position_embeddings") -> int:
    """One position a token, counted from 0, in a table of the size that ``key`` says."""
    return int(config.get(key, default))


def rotary(config: Config, default: int = 2048) -> int:
    """Rotary positions have no table, so the limit is the figure that the model was made for.

    Two kinds of them (LongRoPE, dynamic NTK) turn by other angles once the longest row of a batch is past the length of
    the first training: what a row gets would depend on its neighbours. There that length is the limit.
    """
    figure = positions(config, default)
    for rope in _rope(config):
        if _kind(rope) in _CHOOSING:
            original = config.get("original_max_position_embeddings")
            figure = min(figure, int(rope.get("original_max_position_embeddings") or original or figure))
    return figure


_CHOOSING = ("longrope", "su", "dynamic")


def other_angles(config: Config) -> str | None:
    """The kind of rotary positions that turns longer texts by other angles, where the config has one."""
    return next((kind for kind in map(_kind, _rope(config)) if kind in _CHOOSING), None)


def _kind(rope: Config) -> str:
    return str(rope.get("rope_type", rope.get("type")))


def _rope(config: Config) -> list[Config]:
    """The parameters of rotary positions: one mapping, or one a kind of layer."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return [found, *(part for part in found.values() if isinstance(part, Mapping))]


def positions_after_pad(config: Config, default: int = 512, default_pad_id: int = 1) -> int:
    """Positions counted from pad id + 1, as RoBERTa counts them: 514 positions take 512 tokens."""
    pad = config.get("pad_token_id", default_pad_id)
    return positions(config, default) - int(default_pad_id if pad is None else pad) - 1


def any_positions(config: Config) -> int | None:
    """For a type in neither table nor file: what the config calls its positions. The export is checked with torch."""
    found = config.get("max_position_embeddings", config.get("n_positions"))
    return rotary(config, found) if isinstance(found, int) and found > 0 else None
