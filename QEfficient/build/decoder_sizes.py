"""How large a decoder is compiled: keywords about slots, rows and lengths become ``DecoderFacts``, these the entries.

What a caller leaves out depends on where the program is to run. A host takes any number of rows and any length up to
the largest, so it gets slots and a long context. A card takes exactly what was compiled, so it gets the vendor's plain
form and lengths. Nothing here asks the machine: the numbers are part of the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from QEfficient import arguments
from QEfficient.arguments import unless_left_out
from QEfficient.errors import OptionError
from QEfficient.records import NUM_LOGITS_TO_KEEP, DecoderFacts, Shape, TensorSpec
from QEfficient.tasks.text_generation import CTX_DIM, SLOTS_DIM, WINDOW_DIM

SLOTS = 8
"""Rows, and slots, where slots are compiled and nobody says how many."""
HOST_CONTEXT = 2048
"""The most positions of a slot on a host where nobody says how many."""
HOST_CHUNK = 256
"""Tokens of a prompt that a host reads at once, where nobody says how many."""
HOST_DRAFT = 10
"""Tokens that a host can be given at once behind those that were chosen, where nobody says how many: it costs nothing
where none are (measured), so that any call may ask for prompt look-up."""
CARD_CONTEXT, CARD_CHUNK = 128, 32
"""The vendor's, on a card."""


class Sizes(Protocol):
    """What makes facts of the keywords of ``compile``: :func:`decoder_facts`, or that of models with an encoder."""

    def __call__(
        self,
        given: Mapping[str, Any],
        continuous: bool | None,
        limit: int | None,
        *,
        on_host: bool,
        rope: str | None = None,
    ) -> DecoderFacts:
        """As :func:`decoder_facts`."""
        ...


def decoder_facts(
    given: Mapping[str, Any], continuous: bool | None, limit: int | None, *, on_host: bool, rope: str | None = None
) -> DecoderFacts:
    """What the keywords of ``compile`` ask for.

    Args:
        given: They, by name; an ``Unset`` one was left out.
        continuous: As the model was loaded; ``None`` where that was left out.
        limit: The most positions that the model takes; ``None`` where nothing bounds it.
        on_host: Whether what is left out is a host's.
        rope: The kind of rotary positions that bounds the model, where one does.

    Raises:
        OptionError: A number is none, or two do not go together; both are named.
    """
    slots, rows, held = form_and_rows(given, continuous, on_host)
    context = unless_left_out("ctx_len", given["ctx_len"], "positions")
    context = within(limit, "ctx_len", context, "The context", _why(rope))
    context = context or min(HOST_CONTEXT if on_host else CARD_CONTEXT, limit or HOST_CONTEXT)
    named = given["num_speculative_tokens"]
    ahead = speculated(named)
    kept = 1 + (min(HOST_DRAFT, context - 1) if named is None and on_host else ahead)
    chunk = chunk_within(context, given, "A prompt's chunk does not fit the context.")
    chunk = chunk or min(HOST_CHUNK if on_host else CARD_CHUNK, context)
    only = _prefill_only(given)
    if only is False:
        chunk = 1  # prompts are read by the decode's entry
    if only:
        rows = held if not slots else 1
    return DecoderFacts(context, held, rows, chunk, slots, kept, speculated=ahead)


def form_and_rows(given: Mapping[str, Any], continuous: bool | None, on_host: bool) -> tuple[bool, int, int]:
    """Whether there are slots, rows of a decode, and slots, which the plain form has as many of as rows.

    Args:
        given: As :func:`decoder_facts` takes it, as all that follow.
        continuous: Likewise.
        on_host: Likewise.

    Raises:
        OptionError: A number is none, two do not go together, or a keyword is about slots, and there are to be none.
    """
    if _is_continuous(given, continuous, on_host):
        return True, *_rows_and_slots(given)
    rows = arguments.positive("batch_size", given["batch_size"], "rows")
    return False, rows, rows


def _is_continuous(given: Mapping[str, Any], asked: bool | None, on_host: bool) -> bool:
    named = [name for name in ("full_batch_size", "kv_cache_batch_size") if given[name] is not None]
    if asked is False and named:
        raise OptionError(
            f"{' and '.join(named)} is about slots, and the model was loaded without them.",
            got=f"continuous_batching=False, {named[0]}={given[named[0]]!r}",
            allowed="batch_size with continuous_batching=False",
            do="load the model with continuous_batching=True, or pass batch_size",
        )
    if asked is None:
        return bool(named) or on_host
    return asked


def _rows_and_slots(given: Mapping[str, Any]) -> tuple[int, int]:
    rows, held = given["full_batch_size"], given["kv_cache_batch_size"]
    asked = unless_left_out("batch_size", given["batch_size"], "rows")
    rows = None if rows is None else arguments.positive("full_batch_size", rows, "rows")
    held = None if held is None else arguments.positive("kv_cache_batch_size", held, "slots")
    if asked is not None and rows is not None and asked not in (1, rows):
        raise OptionError(
            "batch_size and full_batch_size both say how many rows are decoded.",
            got=f"batch_size={asked}, full_batch_size={rows}",
            allowed="full_batch_size alone, where slots are compiled",
            do="drop batch_size",
        )
    rows = rows or asked or min(SLOTS, held or SLOTS)
    held = held or rows
    if held < rows:
        raise OptionError(
            "There are fewer slots than rows that are decoded at once.",
            got=f"kv_cache_batch_size={held}, full_batch_size={rows}",
            allowed=f"kv_cache_batch_size from {rows} on",
            do="pass a larger kv_cache_batch_size, or a smaller full_batch_size",
        )
    return rows, held


def within(limit: int | None, name: str, asked: int | None, what: str, why: str = "") -> int | None:
    """A length that the model has room for; ``None`` where it was left out.

    Args:
        limit: As :func:`decoder_facts` takes it.
        name: Of the length's keyword.
        asked: The length.
        what: What is as long.
        why: What bounds the model, in a sentence.

    Raises:
        OptionError: It is longer than the model takes.
    """
    if asked is not None and limit is not None and asked > limit:
        raise OptionError(
            f"{what} is longer than the model takes.{why}",
            got=f"{name}={asked}",
            allowed=f"1 to {limit} positions",
            do=f"pass a smaller {name}",
        )
    return asked


def _why(rope: str | None) -> str:
    if rope is None:
        return ""
    turned = "turn longer texts by other angles, from the first token on, and a cache holds keys that are turned"
    return f" Its rotary positions ({rope}) {turned}."


def chunk_within(context: int, given: Mapping[str, Any], what: str) -> int | None:
    """Tokens that are read at once; ``None`` where ``prefill_seq_len`` was left out.

    Args:
        context: Positions that there are.
        given: As :func:`decoder_facts` takes it.
        what: What is wrong with more, in a sentence.

    Raises:
        OptionError: It is no number, or more than there are positions.
    """
    chunk = unless_left_out("prefill_seq_len", given["prefill_seq_len"], "tokens")
    if chunk is not None and chunk > context:
        raise OptionError(
            what,
            got=f"prefill_seq_len={chunk}, ctx_len={context}",
            allowed=f"prefill_seq_len up to {context}",
            do="pass a smaller prefill_seq_len or a larger ctx_len",
        )
    return chunk


def speculated(value: object) -> int:
    """Tokens that are proposed to the model at once, 0 where nobody proposes any.

    Args:
        value: ``num_speculative_tokens``.

    Raises:
        OptionError: It is no whole number, alone or in a list.
    """
    if value is None:
        return 0
    many = [arguments.whole(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    if len(many) != 1 or many[0] is None or many[0] < 0:
        raise OptionError(
            "num_speculative_tokens is no single whole number.",
            got=f"num_speculative_tokens={value!r}",
            allowed="a whole number from 0 on, alone or in a list of one",
            do="pass the most tokens that are proposed at once: fewer always go",
        )
    return many[0]


def _prefill_only(given: Mapping[str, Any]) -> bool | None:
    only: object = given["prefill_only"]
    if only is not None and not isinstance(only, bool):
        raise OptionError(
            "prefill_only is neither True, False nor None.",
            got=f"prefill_only={only!r}",
            allowed="True: entries for prompts only; False: for decoding only; None: both",
            do="leave it out for a program that writes text",
        )
    return only


def decoder_shapes(
    facts: DecoderFacts, inputs: Sequence[TensorSpec], window: int | None, prefill_only: bool
) -> tuple[Shape, ...]:
    """What the graph is compiled for: an entry that reads prompts and one that decodes, or one for both.

    Args:
        facts: Slots, rows and lengths.
        inputs: Of the graph; it tells which dims there are.
        window: Positions of a layer that keeps its last ones only.
        prefill_only: Only the entry that reads prompts.
    """
    free = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}
    held = {CTX_DIM: facts.ctx_len, SLOTS_DIM: facts.cache_slots + 1, WINDOW_DIM: window}  # a slot more: scratch

    def entry(length: int, rows: int, kept: int) -> Shape:
        sizes = {name: size for name, size in {**held, NUM_LOGITS_TO_KEEP: kept}.items() if name in free and size}
        return Shape(length, rows, sizes)

    prompts = entry(facts.prefill_len, 1 if facts.continuous else facts.cache_slots, 1)
    if prefill_only:
        return (prompts,)
    one, most = entry(1, facts.decode_rows, 1), entry(facts.kept_logits, facts.decode_rows, facts.kept_logits)
    return tuple(sorted({one, most} | ({prompts} if facts.prefill_len > 1 else set())))
