"""The road to a program that writes text, of a decoder alone and of one with an encoder: what both have.

Exporting and compiling import what only they need: a saved program starts without it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from QEfficient import arguments, progress
from QEfficient.architectures.record import other_angles
from QEfficient.auto.sharing import Sharing
from QEfficient.build.saved import Opened
from QEfficient.cache import Cache
from QEfficient.errors import NotYetSupportedError, OptionError, UsageError
from QEfficient.generation.loaded import NO_LIMIT, LoadedGenerator
from QEfficient.generation.program_parts import repo
from QEfficient.records import TextFacts
from QEfficient.source.head import Head
from QEfficient.source.recipe import Recipe, recipe_of
from QEfficient.source.text import text_facts

if TYPE_CHECKING:
    from QEfficient.build.decoder_sizes import Sizes
    from QEfficient.build.decoder_stage import Form

log = logging.getLogger("QEfficient")


@dataclass(frozen=True, slots=True)
class Classes:
    """Which of transformers' classes an Auto class serves.

    Attributes:
        endings: What their names end in.
        does: What their models do, as the refusal of another one says it.
        others: Which Auto classes serve which others.
    """

    endings: tuple[str, ...]
    does: str
    others: str

    def check(self, name: str, model: str) -> None:
        """Refuses a model of another class.

        Raises:
            UsageError: It is none of these.
        """
        if not name.endswith(self.endings):
            raise UsageError(
                f"{model!r} is no model that {self.does}.",
                got=name,
                allowed=" or ".join(f"a class that ends in {ending}" for ending in self.endings),
                do=f"load it with the class of its task: {self.others}",
            )


class DecoderRoad(Sharing[LoadedGenerator]):
    """What a model has whose program writes text: its form, with slots or without, and how it becomes a program."""

    _classes: ClassVar[Classes]
    _continuous: bool | None = None
    _longest: int | None = None  # positions that a caller bounds the model to

    @staticmethod
    def _open(opened: Opened) -> LoadedGenerator:
        return LoadedGenerator(opened.program, opened.backend, opened.reason, strict=opened.strict)

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        return recipe_of(self._need_origin("export or compile"), Head(), self._task, functions, verify)

    def _text(self, recipe: Recipe) -> TextFacts:
        """A prompt is never shortened: one that does not fit is refused."""
        return dataclasses.replace(text_facts(recipe), max_length=NO_LIMIT)

    def _limit(self, recipe: Recipe) -> int | None:
        known = [limit for limit in (recipe.reach.limit, self._longest) if limit is not None]
        return min(known, default=None)

    def _take_form(self, continuous: object) -> None:
        """Keeps how the caller wants it compiled, and refuses what this class does not serve so.

        Raises:
            OptionError: ``continuous_batching`` is neither True, False nor None.
            UsageError: The model is of another class, or the saved program of another form.
        """
        self._continuous = _checked_form(continuous)
        if self._origin is not None:
            self._classes.check(self._origin.class_name(), self._origin.name)
        elif continuous not in (None, self._need_loaded().facts.continuous):
            raise UsageError(
                "The saved program has another form.",
                got=f"continuous_batching={continuous}",
                allowed=f"continuous_batching={self._need_loaded().facts.continuous}, or leave it out",
                do="load the original model by name and compile it so",
            )

    def can_generate(self) -> bool:
        """True: text comes out."""
        return True

    @property
    def generation_config(self) -> Any:
        """Transformers' ``GenerationConfig`` of the repo: what holds where a call says nothing else. A copy."""
        from transformers import GenerationConfig

        return GenerationConfig.from_dict(repo(self._need_loaded()))

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """``("text",)``, as pipelines ask for it."""
        return ("text",)

    def _exported(self, recipe: Recipe, form: Form, export_dir: str | Path | None) -> str:
        """Exports the graph of this form, and copies it where the caller wants it."""
        from QEfficient.build.decoder_stage import decoder_export_stage
        from QEfficient.build.graph_stage import copy_onnx

        with self._lock:
            graph = decoder_export_stage(recipe, form, self._text(recipe), Cache())
            self._onnx_path = graph.path if export_dir is None else copy_onnx(graph, Path(export_dir))
            return str(self._onnx_path)

    def _compiled(self, given: Mapping[str, Any], options: Mapping[str, Any], sizes: Sizes) -> str:
        """Compiles what the arguments of ``compile`` ask for."""
        from QEfficient.build.decoder_request import parse_decoder
        from QEfficient.build.decoder_stage import decoder_stage

        with self._lock:
            self._check_onnx_path(given["onnx_path"])
            recipe = self._recipe(given["use_onnx_subfunctions"], given["verify"])
            text, limit, rope = self._text(recipe), self._limit(recipe), other_angles(recipe.origin.config())
            request = parse_decoder(given, options, text, self._continuous, limit, rope, sizes=sizes)
            program = decoder_stage(recipe, request, Cache())
            loaded = self._keep_program(program, request.backend, request.reason, given)
        _tell_of_caches(recipe.origin.name, loaded)
        return str(loaded.program.binary_path or loaded.program.path)

    def _check_onnx_path(self, path: object) -> None:
        """A decoder's graph is this library's own: its caches are addressed in a way that no other exporter knows."""
        if path is None:
            return
        arguments.path_like("onnx_path", path, "the path that export() gave")
        if self._onnx_path is None or Path(str(path)).absolute() != self._onnx_path.absolute():
            raise NotYetSupportedError(
                "A decoder is compiled from this library's own export.",
                got=f"onnx_path={str(path)!r}",
                allowed="the path that export() of this object gave, or None",
                do="leave onnx_path out",
            )

    def quantize(self, *args: object, **keywords: object) -> NoReturn:
        """Not built for decoders yet.

        Raises:
            NotYetSupportedError: Always; it says what makes a card's program smaller.
        """
        raise _of_encoders(
            "quantize", "compile(mxfp6_matmul=True, mxint8_kv_cache=True) makes a card's program smaller"
        )

    def prune(self, *args: object, **keywords: object) -> NoReturn:
        """Not built for decoders yet.

        Raises:
            NotYetSupportedError: Always.
        """
        raise _of_encoders("prune", "choose a smaller model")


def _checked_form(value: object) -> bool | None:
    """A checked ``continuous_batching``.

    Raises:
        OptionError: It is neither True, False nor None.
    """
    if value is None or isinstance(value, bool):
        return value
    raise OptionError(
        "continuous_batching is neither True, False nor None.",
        got=f"continuous_batching={value!r}",
        allowed="True: slots; False: the vendor's plain form; None: what suits the backend",
        do="pass the number of rows as compile(full_batch_size=…)",
    )


def _tell_of_caches(name: str, loaded: LoadedGenerator) -> None:
    facts, megabytes = loaded.facts, loaded.cache_bytes / 1e6
    line = f"caches of {name}: {megabytes:.1f} MB for {facts.cache_slots} slots of {facts.ctx_len} positions"
    log.info(line)
    progress.tell(line)


def _of_encoders(name: str, do: str) -> NotYetSupportedError:
    return NotYetSupportedError(
        f"{name} is not built for models that write text yet.", got=name, allowed="the model as it is", do=do
    )
