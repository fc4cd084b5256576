"""Reads settings: the repo's ``generation_config.json``, and over it what the caller says.

Precedence is transformers' (``GenerationMixin._prepare_generation_config`` of 5.24): a keyword goes before the caller's
config, that before the repo's file, that before the defaults. A keyword that is ``None`` switches off what the file
says; ``None`` in a config says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from QEfficient.errors import OptionError, unknown
from QEfficient.generation.settings import FILE, GenerationSettings
from QEfficient.generation.settings_fields import MACHINERY, NOTES, OBEYED, OF_CALLS, REFUSED


def parse_settings(
    repo: Mapping[str, Any] | None = None, keywords: Mapping[str, Any] | None = None, config: Any = None
) -> GenerationSettings:
    """Reads settings, each value checked.

    Args:
        repo: What ``generation_config.json`` holds. Names that transformers does not know are the repo's own business.
        keywords: The caller's.
        config: The caller's ``GenerationConfig``, or a dict like it.

    Raises:
        OptionError: An unknown keyword, a value out of range, a field that is not built, or two that clash.
    """
    file, given = dict(repo or {}), dict(keywords or {})
    said = {**_config(config), **given}
    _refuse_unknown(given)
    values: dict[str, Any] = {}
    for name in dict.fromkeys([*file, *said]):
        own = name in said and not (name in MACHINERY and said[name] == file.get(name))
        value = said[name] if name in said else file[name]
        shown = name if own else f"{name} of {FILE}"
        _refuse(name, value, shown, own=own)
        if name in OBEYED and value is not None:
            values[name] = OBEYED[name](shown, value)
        elif name in ("top_k", "prompt_lookup_num_tokens") and own:  # left out it has another default
            values[name] = 0  # and None switches it off
    if values.get("temperature") == 0:
        values["do_sample"] = False
    settings = GenerationSettings(**values, named=frozenset(name for name in said if name in values))
    _check_together(settings)
    return settings


def _config(config: Any) -> dict[str, Any]:
    """What a config says, without what it leaves open."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        _refuse_unknown(config)
        fields: Mapping[str, Any] = config
    elif hasattr(config, "to_dict"):
        fields = config.to_dict()
    else:
        raise OptionError(
            "generation_config is no config.",
            got=config,
            allowed="a transformers.GenerationConfig, or a dict of its fields",
            do="pass one of these, or the parameters as keywords",
        )
    return {name: value for name, value in fields.items() if value is not None}


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    for name in given:
        if not any(name in names for names in (OBEYED, REFUSED, MACHINERY, NOTES)):
            what = f"There is no generation parameter {name!r}."
            raise unknown(OptionError, what, name, [*OBEYED, *OF_CALLS], do="correct the name, or leave it out")


def _refuse(name: str, value: Any, shown: str, *, own: bool) -> None:
    """Refuses a field that is not obeyed, unless its value asks for nothing."""
    if value is None or (name in REFUSED and (value is False or value in REFUSED[name].neutral)):
        return
    if name in REFUSED:
        raise OptionError(
            f"{shown} asks for {REFUSED[name].what}: not built.",
            got=f"{name}={value!r}",
            allowed="None" + "".join(f" or {one!r}" for one in REFUSED[name].neutral),
            do=REFUSED[name].do if own else f"{REFUSED[name].do}: pass {name}=None to pass over the file's",
        )
    if own and name in MACHINERY and value not in MACHINERY[name]:
        raise OptionError(
            f"{name} changes how transformers runs, and nothing here.",
            got=f"{name}={value!r}",
            allowed="None" + "".join(f" or {one!r}" for one in MACHINERY[name]),
            do="leave it out: the program's own cache and kernels are used, and the tokens are the same",
        )


def _check_together(settings: GenerationSettings) -> None:
    many, beams = settings.num_return_sequences, settings.num_beams
    if many > 1 and beams == 1 and not settings.do_sample:
        raise OptionError(
            "Greedy search finds one sequence.",
            got=f"num_return_sequences={many}, do_sample=False, temperature={settings.temperature:g}",
            allowed="num_return_sequences=1",
            do="pass do_sample=True, or num_beams",
        )
    if many > beams > 1:
        raise OptionError(
            "There are fewer beams than sequences to give back.",
            got=f"num_return_sequences={many}, num_beams={beams}",
            allowed=f"num_return_sequences to {beams}",
            do="raise num_beams",
        )
    if settings.prompt_lookup_num_tokens and beams > 1:
        raise OptionError(
            "Prompt look-up is for one sequence, and beams are several.",
            got=f"prompt_lookup_num_tokens={settings.prompt_lookup_num_tokens}, num_beams={beams}",
            allowed="prompt_lookup_num_tokens with num_beams=1",
            do="leave one of them out",
        )
    if settings.exponential_decay_length_penalty is not None and not settings.eos_token_id:
        raise OptionError(
            "exponential_decay_length_penalty raises end tokens, and there is none.",
            got="eos_token_id=None",
            allowed="at least one end token",
            do="pass eos_token_id",
        )
    first = settings.forced_bos_token_id
    forced = {
        "forced_bos_token_id": () if first is None else (first,),
        "forced_eos_token_id": settings.forced_eos_token_id,
    }
    for name, tokens in forced.items():
        if tokens and set(tokens) <= set(settings.suppress_tokens):
            raise OptionError(
                f"Every token of {name} is in suppress_tokens too.",
                got=f"{name}={list(tokens)}",
                allowed="a token that is not suppressed",
                do="take it out of one of them",
            )
