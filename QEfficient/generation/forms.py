"""Which of the two calls named ``generate`` this is: the vendor's, of prompts, or HuggingFace's, of ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from QEfficient import arguments
from QEfficient.errors import InputError, UsageError

_AFTER_IDS = (
    "generation_config",
    "logits_processor",
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "synced_gpus",
    "assistant_model",
    "streamer",
)
"""What stands behind the ids in transformers' ``generate``, by position."""

_AFTER_TOKENIZER = ("prompts", "device_id", "runtime_ai100")
"""What stands behind the tokenizer in the vendor's."""

_BOTH_WAYS = "prompts=[…] for texts, or input_ids= for ids"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of ``generate``, sorted out.

    Attributes:
        prompts: Texts; ``None``: it is HuggingFace's form.
        ids: Ids as the caller has them; ``None``: it is the vendor's form.
        attention_mask: Of the ids.
        tokenizer: The caller's; ``None``: the program's own.
        devices: Of the card; ``None``: whichever the runtime chooses.
        on_program: False: the torch model is to run.
        keywords: All that is left.
    """

    prompts: tuple[str, ...] | None
    ids: Any
    attention_mask: Any
    tokenizer: Any
    devices: tuple[int, ...] | None
    on_program: bool
    keywords: dict[str, Any] = field(default_factory=dict)


def is_tokenizer(value: object) -> bool:
    """Whether a value is a tokenizer of transformers' or of the tokenizers library."""
    return callable(getattr(value, "decode", None)) and not isinstance(value, (bytes, bytearray))


def check_tokenizer(value: Any) -> Any:
    """A caller's ``tokenizer``; ``None`` where there is none.

    Raises:
        UsageError: It is something else.
    """
    if value is not None and not is_tokenizer(value):
        raise UsageError(
            "tokenizer is none.",
            got=f"{type(value).__name__}: {value!r:.60}",
            allowed="a tokenizer of transformers or of tokenizers; left out, the program's own",
            do="load it first: AutoTokenizer.from_pretrained(…)",
        )
    return value


def read_form(args: Sequence[Any], given: Mapping[str, Any], keywords: Mapping[str, Any]) -> Asked:
    """Sorts out the arguments of a call.

    Args:
        args: By position.
        given: ``prompts``, ``device_id`` and ``runtime_ai100``, each at its default where it was left out.
        keywords: All others.

    Raises:
        UsageError: Ids and prompts together, or neither; something given twice; a tokenizer that is none.
        InputError: ``prompts`` holds no texts.
    """
    named = dict(keywords) | {name: value for name, value in given.items() if value is not None}
    _by_position(args, named)
    _open_mapping(named)
    prompts, ids = _prompts(named), named.pop("input_ids", None)
    if (ids is None) == (prompts is None):
        _neither_or_both(ids)
    tokenizer = check_tokenizer(named.pop("tokenizer", None))
    mask = named.pop("attention_mask", None)
    if mask is not None and ids is None:
        raise UsageError(
            "attention_mask belongs to ids.", got="prompts and attention_mask", allowed=_BOTH_WAYS, do="drop the mask"
        )
    on_program = named.pop("runtime_ai100", True)
    if not isinstance(on_program, bool):
        raise UsageError("runtime_ai100 is no bool.", got=on_program, allowed="True or False", do="pass one of these")
    return Asked(prompts, ids, mask, tokenizer, devices_of(named), on_program, named)


def _by_position(args: Sequence[Any], named: dict[str, Any]) -> None:
    """Gives the arguments by position their names."""
    if not args:
        return
    first = args[0]
    if is_tokenizer(first):
        names: tuple[str, ...] = ("tokenizer", *_AFTER_TOKENIZER)
    elif isinstance(first, str) or _holds_strings(first):
        raise UsageError(
            "The first argument is text, which has a name here.",
            got=f"{first!r:.60}",
            allowed="a tokenizer (the vendor's form) or ids (HuggingFace's form) as first argument",
            do="pass texts as prompts=",
        )
    else:
        names = ("inputs", *_AFTER_IDS)
    if len(args) > len(names):
        raise UsageError(
            "generate has too many arguments by position.",
            got=f"{len(args)} arguments",
            allowed=", ".join(names),
            do="pass the others by keyword",
        )
    for name, value in zip(names, args, strict=False):
        if value is None:
            continue
        if name in named and not (name == "runtime_ai100" and named[name] is True):
            raise UsageError(
                f"{name} is given twice.", got="by position and by keyword", allowed="once", do=f"drop {name}="
            )
        named[name] = value


def _holds_strings(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], str)


def _open_mapping(named: dict[str, Any]) -> None:
    """``inputs`` is another name of ``input_ids``, or a mapping that the tokenizer made."""
    inputs = named.pop("inputs", None)
    if inputs is None:
        return
    if isinstance(inputs, Mapping) or (hasattr(inputs, "keys") and not hasattr(inputs, "iloc")):
        parts = dict(inputs)
        if "input_ids" not in parts:
            raise InputError(
                "inputs has no input_ids.",
                got=", ".join(map(str, parts)) or "an empty mapping",
                allowed="what the tokenizer gives",
                do="add input_ids",
            )
    else:
        parts = {"input_ids": inputs}
    twice = next((name for name in parts if named.get(name) is not None), None)
    if twice is not None:
        raise UsageError(
            f"{twice} is given twice.", got=f"inputs and {twice}", allowed="one of them", do=f"drop {twice}="
        )
    named.update(parts)


def _prompts(named: dict[str, Any]) -> tuple[str, ...] | None:
    prompts, file = named.pop("prompts", None), named.pop("prompts_txt_file_path", None)
    if file is not None:
        if prompts is not None:
            raise UsageError(
                "Prompts are given twice.",
                got="prompts and prompts_txt_file_path",
                allowed="one of them",
                do="drop one of them",
            )
        arguments.path_like("prompts_txt_file_path", file, "the path of a text file")
        path = Path(file)
        if not path.is_file():
            raise UsageError(
                "There is no file of prompts.", got=str(path), allowed="a file with one prompt a line", do="correct it"
            )
        prompts = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if prompts is None:
        return None
    found = [prompts] if isinstance(prompts, str) else arguments.strings("prompts", prompts)
    if not found:
        raise InputError("There is no prompt.", got="an empty list", allowed="one or more", do="pass a prompt")
    return tuple(found)


def _neither_or_both(ids: Any) -> None:
    if ids is None:
        raise UsageError(
            "generate was given neither prompts nor ids.", got="nothing", allowed=_BOTH_WAYS, do="pass one of these"
        )
    raise UsageError(
        "generate was given prompts and ids.", got="prompts and input_ids", allowed=_BOTH_WAYS, do="drop one of them"
    )


def devices_of(named: dict[str, Any]) -> tuple[int, ...] | None:
    """Takes ``device_id``, which the vendor gives as one or a list, or ``device_ids``, which is the same, out of it.

    Raises:
        UsageError: Both are given.
        OptionError: It is no list of device ids.
    """
    one, many = named.pop("device_id", None), named.pop("device_ids", None)
    if arguments.whole(one) is not None:
        one = [one]
    value = arguments.renamed("device_id", one, "device_ids", many)
    return None if value is None else arguments.device_ids(value)  # type: ignore[arg-type]  # it checks
