"""What ``compile`` of a decoder is asked for: parsed once, and part of the key as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from QEfficient import arguments
from QEfficient.backends import registry
from QEfficient.backends.base import Backend
from QEfficient.backends.card_options import check_names
from QEfficient.backends.host import GROUPED, NARROW
from QEfficient.build.decoder_sizes import Sizes, decoder_facts, decoder_shapes
from QEfficient.build.refused_keywords import COMPILE, refuse_changed, refuse_options
from QEfficient.build.request import CORES, NOT_IN_ANY_KEY, content, served, verify_limits
from QEfficient.build.seq2seq_sizes import source_shapes
from QEfficient.errors import NotYetSupportedError
from QEfficient.records import CompileOptions, DecoderFacts, Json, Shape, Target, TensorSpec, TextFacts
from QEfficient.source.recipe import verify_mode
from QEfficient.tasks.text2text_generation import SourceForm
from QEfficient.tasks.text_generation import DecoderForm


@dataclass(frozen=True, slots=True)
class DecoderRequest:
    """What to compile a decoder for. Each field is part of the key but for those of :data:`NOT_IN_KEY`.

    Attributes:
        backend: Compiles.
        reason: Why it was taken, for ``device_report()``.
        compute: Precision of the arithmetic.
        devices: Devices that one program spans.
        cores: AI cores of an instance.
        decoder: Slots, rows, lengths and form.
        prefill_only: True: only the entry that reads prompts; else as the lengths say.
        options: The compiler's, checked.
        text: What the program's text side is.
        texts: Texts of the caller's to verify the program on, besides the built-in ones.
        limits: The limits of the caller's that the program must hold.
    """

    backend: Backend
    reason: str
    compute: str
    devices: int
    cores: int
    decoder: DecoderFacts
    prefill_only: bool
    options: CompileOptions
    text: TextFacts
    texts: tuple[str, ...] = ()
    limits: Mapping[str, Json] | None = None

    @property
    def target(self) -> Target:
        """What the program is compiled for, as a manifest has it."""
        return Target(self.backend.name, self.compute, self.cores, self.devices)

    @property
    def form(self) -> DecoderForm | SourceForm:
        """Which of the model's graphs it is compiled from."""
        if self.decoder.has_encoder:
            return SourceForm(self.decoder.continuous)
        return DecoderForm(self.decoder.continuous, self.decoder.kept_logits > 1)

    def ingredients(self) -> dict[str, Json]:
        """The key's ingredients that the model's own do not hold."""
        found: dict[str, Json] = content(self, NOT_IN_KEY)
        if self.compute in NARROW:
            found["weights"] = {"group": GROUPED[self.compute], "rounding": ROUNDING[NARROW[self.compute]]}
        return found

    def shapes(self, inputs: tuple[TensorSpec, ...], window: int | None) -> tuple[Shape, ...]:
        """What the graph is compiled for.

        Args:
            inputs: Of the graph; it tells which dims there are.
            window: Positions of a layer that keeps its last ones only.
        """
        facts = self.decoder
        if facts.encoder_ctx_len is not None:
            return source_shapes(facts, facts.encoder_ctx_len)
        return decoder_shapes(facts, inputs, window, self.prefill_only)


ROUNDING: Mapping[int, str] = MappingProxyType({4: "for texts", 8: "to the nearest"})
"""How weights of so many bits are rounded."""

NOT_IN_KEY: Mapping[tuple[type, str], str] = {
    (DecoderRequest, "reason"): "it tells of the choice, and changes nothing that is made",
    **NOT_IN_ANY_KEY,
}
"""Fields of a request, and of what it holds, that are not part of the key, and why."""


def parse_decoder(
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    text: TextFacts,
    continuous: bool | None,
    limit: int | None,
    rope: str | None = None,
    sizes: Sizes = decoder_facts,
) -> DecoderRequest:
    """The arguments of ``compile`` as a request.

    Args:
        given: By their names in its signature.
        options: Its further keywords.
        text: The model's text side.
        continuous: As the model was loaded; ``None`` where that was left out.
        limit: The most positions that the model takes.
        rope: The kind of rotary positions that bounds it, where one does.
        sizes: What makes facts of the keywords about slots, rows and lengths.

    Raises:
        OptionError: A value that is none of its keyword's, or keywords that do not go together.
        NotYetSupportedError: A keyword of the vendor's that is not built, at another value than its default.
        BackendUnavailableError: The backend that is asked for can't be had here.
    """
    refuse_changed(given, COMPILE)
    refuse_options(options)
    texts = arguments.optional_strings("texts", given["texts"])
    verify_mode(given["verify"], texts, given["limits"])
    _refuse_int8(given["compute"])
    backend, reason = registry.choose(given["backend"], given["compute"])
    keywords = served(options)
    check_names(keywords, [name for name in given if name not in ("self", "compiler_options")])
    for name, keyword in _AS_OPTIONS.items():
        keywords |= {keyword: True} if given[name] else {}
    facts = sizes(given, continuous, limit, on_host=backend.name in registry.HOSTS, rope=rope)
    request = DecoderRequest(
        backend,
        reason,
        registry.compute_of(backend, given["compute"]),
        arguments.positive("num_devices", given["num_devices"], "devices"),
        arguments.unless_left_out("num_cores", given["num_cores"], "cores") or CORES,
        facts,
        given.get("prefill_only") is True,
        backend.parse_options(keywords),
        text,
        texts,
        verify_limits(given["limits"]),
    )
    backend.check(request.target, request.options)
    return request


_AS_OPTIONS = {
    "mxfp6_matmul": "mxfp6_matmul",
    "mxint8_kv_cache": "mxint8_kv_cache",
    "use_onnx_subfunctions": "sub_functions",
}


def _refuse_int8(compute: object) -> None:
    if compute == "int8":
        raise NotYetSupportedError(
            "Decoders are not compiled to int8 with scales of their own.",
            got=f"compute={compute!r}",
            allowed="fp32 and weights of few bits on the host, fp16 on the card",
            do=f"pass one of {', '.join(NARROW)} on the host; mxfp6_matmul makes a card's program smaller",
        )
