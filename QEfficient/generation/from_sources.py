"""Writing about sources, which an encoder reads: ids in, answers or HuggingFace's output record out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from QEfficient import arguments
from QEfficient.arguments import on_host
from QEfficient.errors import InputError, OptionError
from QEfficient.generation.call import Call, read_call
from QEfficient.generation.forms import Asked
from QEfficient.generation.from_ids import take_streamer, tokenizer_if_needed, write
from QEfficient.generation.id_rows import IdRows, read_ids
from QEfficient.generation.program_parts import WritesText, repo, vocabulary
from QEfficient.generation.results import GenerationOutput

START = "decoder_start_token_id"


def decoder_start(settings: Mapping[str, Any]) -> int:
    """The token that a decoder begins with, as transformers finds it: its own, else the BOS token.

    Args:
        settings: What the repo says, and over it the caller.

    Raises:
        OptionError: There is neither.
    """
    for name in (START, "bos_token_id"):
        found = arguments.whole(settings.get(name))
        if found is not None and found >= 0:
            return found
    raise OptionError(
        "Nobody says which token the decoder begins with.",
        got=f"{START}={settings.get(START)!r}, bos_token_id={settings.get('bos_token_id')!r}",
        allowed="a token id, in the repo's generation_config.json or in the call",
        do=f"pass {START}=",
    )


def read_source_call(
    loaded: WritesText, keywords: Mapping[str, Any], rows: int, tokenizer: Any = None
) -> tuple[Call, list[int]]:
    """Reads the keywords that say how tokens are chosen, and the token that the decoder begins with, for each row.

    Args:
        loaded: The program.
        keywords: The caller's. ``decoder_start_token_id`` may be a list of one a row, as in transformers.
        rows: Sources of the call.
        tokenizer: The caller's.

    Raises:
        UsageError: A keyword is unknown, is refused, or its value does not fit.
    """
    left, of_repo = dict(keywords), repo(loaded)
    said, config = left.pop(START, None), left.get("generation_config")
    if said is None and config is not None:
        said = config.get(START) if isinstance(config, Mapping) else getattr(config, START, None)
    if said is not None:
        of_repo = {**of_repo, START: said}  # the settings' reader takes what the repo says
    call = read_call(left, of_repo, tokenizer_if_needed(loaded, left, tokenizer))
    if isinstance(said, (list, tuple)) or hasattr(said, "shape"):
        many = arguments.listed(START, on_host(said), "token ids", error=OptionError)
        if len(many) != rows:
            raise OptionError(
                f"{START} has another number of tokens than there are rows.",
                got=f"{len(many)} for {rows} rows",
                allowed="one token, or one a row",
                do="pass one token id",
            )
        return call, [decoder_start({START: one}) for one in many]
    return call, [decoder_start({**of_repo, "bos_token_id": call.settings.bos_token_id})] * rows


def generate_about(loaded: WritesText, asked: Asked) -> tuple[GenerationOutput, bool, bool]:
    """HuggingFace's ``generate`` of a model with an encoder.

    Args:
        loaded: The program.
        asked: The call. Of its keywords ``streamer``, ``token_type_ids`` and ``decoder_input_ids`` (with
            ``decoder_attention_mask``) are this form's own.

    Returns:
        As ``from_ids.generate_ids``. What the decoder begins with is part of the sequences.

    Raises:
        UsageError: A keyword does not fit.
        InputError: A row does not fit the program.
        DeviceError: The device failed.
    """
    keywords = dict(asked.keywords)
    streamer = take_streamer(keywords, "texts")
    begun, mask = keywords.pop("decoder_input_ids", None), keywords.pop("decoder_attention_mask", None)
    given = read_ids(asked.ids, None)
    call, starts = read_source_call(loaded, keywords, len(given.given), asked.tokenizer)
    sources = read_ids(asked.ids, _mask(asked, given.given, call), _source_vocabulary(loaded))
    rows = _begun(begun, mask, starts, vocabulary(loaded), sources.tensors)
    return write(loaded, call, rows, streamer, asked.devices, sources.prompts)


def _source_vocabulary(loaded: WritesText) -> int:
    """Tokens that the encoder knows: others than the decoder's where a model has two tables."""
    return arguments.whole(loaded.config.get("vocab_size")) or vocabulary(loaded)


def _mask(asked: Asked, ids: NDArray[np.int64], call: Call) -> Any:
    """The caller's mask, else transformers' guess: pad tokens are padding, unless they end sequences too."""
    pad = call.settings.pad_token_id
    if asked.attention_mask is not None or pad is None or pad in call.settings.eos_token_id or not (ids == pad).any():
        return asked.attention_mask
    return ids != pad


def _begun(begun: Any, mask: Any, starts: Sequence[int], vocabulary: int, tensors: bool) -> IdRows:
    """What the decoder begins with: its start token, and behind it what the caller has for it."""
    first = np.array(starts, np.int64)[:, None]
    if begun is None:
        return IdRows(first, tuple((start,) for start in starts), tensors)
    rows = read_ids(begun, mask, vocabulary)
    if len(rows.given) != len(starts):
        raise InputError(
            "decoder_input_ids has another number of rows than input_ids.",
            got=f"{len(rows.given)} and {len(starts)} rows",
            allowed="as many",
            do="pass one row for each source",
        )
    if (rows.given[:, 0] != first[:, 0]).all():  # transformers' rule, which looks at all rows together
        prompts = tuple((start, *prompt) for start, prompt in zip(starts, rows.prompts, strict=True))
        return IdRows(np.concatenate([first, rows.given], axis=1), prompts, tensors)
    return IdRows(rows.given, rows.prompts, tensors)
