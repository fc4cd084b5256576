"""How large an encoder with its decoder is compiled: keywords become ``DecoderFacts``, and these the entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from QEfficient.arguments import unless_left_out
from QEfficient.build.decoder_sizes import HOST_CHUNK, chunk_within, form_and_rows, within
from QEfficient.errors import NotYetSupportedError, OptionError
from QEfficient.generation.session_decoder import LEAST_SOURCE
from QEfficient.records import SOURCE_DIM, DecoderFacts, Shape
from QEfficient.tasks.text2text_generation import OWN_CTX_DIM, SOURCE_CTX_DIM
from QEfficient.tasks.text_generation import SLOTS_DIM

LONGEST = 512
"""The most positions of a source, and on a host of an answer, where nobody says how many."""
CARD_CONTEXT = 150
"""The vendor's, of an answer."""


def seq2seq_facts(
    given: Mapping[str, Any], continuous: bool | None, limit: int | None, *, on_host: bool, rope: str | None = None
) -> DecoderFacts:
    """What the keywords of ``compile`` ask for; as ``decoder_sizes.decoder_facts``.

    Args:
        given: They, by name; an ``Unset`` one was left out.
        continuous: As the model was loaded; ``None`` where that was left out.
        limit: The most positions that encoder and decoder take; ``None`` where nothing bounds it.
        on_host: Whether what is left out is a host's.
        rope: Of decoders alone: no model with an encoder that is served has rotary positions.

    Raises:
        OptionError: A number is none, or two do not go together; both are named.
        NotYetSupportedError: ``num_speculative_tokens`` is given.
    """
    if given["num_speculative_tokens"] is not None:
        raise NotYetSupportedError(
            "num_speculative_tokens is not built for models with an encoder.",
            got=f"num_speculative_tokens={given['num_speculative_tokens']!r}",
            allowed="None",
            do="leave it out",
        )
    slots, rows, held = form_and_rows(given, continuous, on_host)
    most = limit or LONGEST
    context = _positions("ctx_len", given, limit) or min(LONGEST if on_host else CARD_CONTEXT, most)
    source = _positions("encoder_ctx_len", given, limit) or min(LONGEST, most)
    if source < LEAST_SOURCE:
        raise OptionError(
            "The cross caches are too short for the compiled entries to differ.",
            got=f"encoder_ctx_len={source}",
            allowed=f"encoder_ctx_len from {LEAST_SOURCE} on",
            do="pass a larger encoder_ctx_len",
        )
    chunk = chunk_within(context, given, "A chunk of what the decoder begins with does not fit its context.")
    chunk = chunk or (min(HOST_CHUNK, context) if on_host else 1)
    return DecoderFacts(context, held, rows, chunk, slots, encoder_ctx_len=source)


def _positions(name: str, given: Mapping[str, Any], limit: int | None) -> int | None:
    asked = None if given[name] is None else unless_left_out(name, given[name], "positions")
    return within(limit, name, asked, name)


def source_shapes(facts: DecoderFacts, source: int) -> tuple[Shape, ...]:
    """What the graph is compiled for: an entry that reads a source with the first tokens, and one that decodes.

    Where the decoder may begin with several tokens there is a third, which reads those behind the first chunk.

    Args:
        facts: Slots, rows and lengths.
        source: ``facts.encoder_ctx_len``.
    """
    caches = {OWN_CTX_DIM: facts.ctx_len, SOURCE_CTX_DIM: source}
    if facts.continuous:
        caches[SLOTS_DIM] = facts.cache_slots + 1  # a slot more: scratch

    def entry(read: int, length: int, rows: int) -> Shape:
        return Shape(length, rows, {SOURCE_DIM: read, **caches})

    begun = 1 if facts.continuous else facts.cache_slots
    entries = {entry(source, facts.prefill_len, begun), entry(1, 1, facts.decode_rows)}
    if facts.prefill_len > 1:
        entries.add(entry(1, facts.prefill_len, begun))
    return tuple(sorted(entries))
