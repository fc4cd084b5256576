"""The road to a program that writes text, of a decoder alone and of one with an encoder: what both have.

Exporting and compiling import what only they need: a saved program starts without it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from QEfficient import arguments, progress
from QEfficient.architectures.record import other_angles
from QEfficient.auto.compression.quantized import Quantized
from QEfficient.auto.sharing import Sharing
from QEfficient.build.saved import Opened
from QEfficient.cache import Cache
from QEfficient.errors import NotYetSupportedError, OptionError, UsageError
from QEfficient.generation.loaded import NO_LIMIT, LoadedGenerator
from QEfficient.generation.program_parts import repo
from QEfficient.records import Json, TextFacts
from QEfficient.source.head import Head
from QEfficient.source.origin import Origin
from QEfficient.source.recipe import Recipe, recipe_of
from QEfficient.source.text import text_facts

if TYPE_CHECKING:
    from QEfficient.build.decoder_request import DecoderRequest
    from QEfficient.build.decoder_sizes import Sizes
    from QEfficient.build.decoder_stage import Form
    from QEfficient.numerics.verify import Limits

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
    _quantized: Quantized | None = None  # how it is compiled, where quantize made it

    @staticmethod
    def _open(opened: Opened) -> LoadedGenerator:
        return LoadedGenerator(opened.program, opened.backend, opened.reason, strict=opened.strict)

    def _recipe(self, functions: bool, verify: str) -> Recipe:
        return recipe_of(self._need_origin("export or compile"), Head(), self._task, functions, verify)

    def _text(self, recipe: Recipe) -> TextFacts:
        """A prompt is never shortened: one that does not fit is refused."""
        return dataclasses.replace(text_facts(recipe), max_length=NO_LIMIT)

    def _own_steps(self) -> tuple[Mapping[str, Json], ...]:
        return self._quantized.steps if self._quantized else ()

    def _become(self, origin: Origin) -> None:
        super()._become(origin)
        self._quantized = None

    def _sizes(self) -> Sizes:
        """What makes facts of the keywords about slots, rows and lengths."""
        from QEfficient.build.decoder_sizes import decoder_facts

        return decoder_facts

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

    def _compiled(self, given: Mapping[str, Any], options: Mapping[str, Any]) -> str:
        """Compiles what the arguments of ``compile`` ask for."""
        from QEfficient.build.decoder_stage import decoder_stage

        with self._lock:
            if self._quantized is not None:
                given = self._quantized.filled_in(given)
            recipe, request = self._asked(given, options)
            program = decoder_stage(recipe, request, Cache(), self._own_steps())
            loaded = self._keep_program(program, request.backend, request.reason, given)
        _tell_of_caches(recipe.origin.name, loaded)
        return str(loaded.program.binary_path or loaded.program.path)

    def _asked(self, given: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Recipe, DecoderRequest]:
        """What the arguments of ``compile`` ask for."""
        from QEfficient.build.decoder_request import parse_decoder

        self._check_onnx_path(given["onnx_path"])
        recipe = self._recipe(given["use_onnx_subfunctions"], given["verify"])
        text, limit, rope = self._text(recipe), self._limit(recipe), other_angles(recipe.origin.config())
        return recipe, parse_decoder(given, options, text, self._continuous, limit, rope, sizes=self._sizes())

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

    def quantize(
        self,
        to: str,
        *,
        texts: Iterable[str] | None = None,
        backend: str | None = None,
        limits: Limits | Mapping[str, float | None] | None = None,
        **compile_options: Any,
    ) -> Self:
        """Compiles the model with weights of few bits, measures what that costs, and gives it as another object.

        - ``"int4_weights"``: weights in 4 bits, groups of 32 with a step each; numbers are computed in fp32.
        - ``"int4_weights_int8"``: weights in 4 bits, groups of 64 where these divide a product's inputs, multiplied by
          int8: each product rounds what it reads, as many numbers with a step of their own. The fastest, and other
          texts than ``"int4_weights"`` writes.
        - ``"int8_weights"``: weights in 8 bits, numbers in fp32: nearly the same texts in a quarter of the bytes. In
          onnxruntime it saves bytes on disk and no time.
        - ``"int8_weights_int8"``: the same weights, multiplied by int8.

        In 4 bits a decoder's products are rounded for what they read in built-in texts and in ``texts``, which are
        tokenised as chats and as they stand: the error of an input's weights is taken over by those of the next inputs
        (GPTQ; Frantar et al., 2022). That takes about a minute for 135 million weights. Texts such as the model will
        read are worth giving.

        A table of words has 8 bits in any case. All are forms of a host; ``compile(mxfp6_matmul=True)`` makes a card's
        program smaller.

        This object and its program stay as they are. What is given is compiled; ``compile`` of it does the same again,
        for other sizes or another backend. :attr:`compressed`, ``device_report()`` and the manifest tell what was
        measured: how many of HuggingFace's tokens are chosen too, the first that is not and how far HuggingFace's was
        ahead there, the change of perplexity, bytes before and after.

        Args:
            to: One of these.
            texts: Texts such as the model will be given; 4 bits are rounded for them, and it is measured on them,
                besides the built-in ones. No built-in text is used for both.
            backend: As :meth:`compile` takes it.
            limits: What must hold against HuggingFace in float32, in place of the form's defaults:
                ``min_label_agreement``, the share of its tokens, and ``max_perplexity_change``.
            **compile_options: Further keywords of :meth:`compile`, such as ``ctx_len``.

        Returns:
            Another object of this class.

        Raises:
            VerificationError: A limit does not hold. Nothing is kept.
            UsageError: A form that is unknown, a saved program, or a model that is quantized already.
            OptionError: A backend that does not compute so.
            NotYetSupportedError: A form of encoders.
        """
        from QEfficient.auto.compression.decoder_quantizing import quantize_decoder

        return quantize_decoder(self, to, texts, backend, limits, compile_options)

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
