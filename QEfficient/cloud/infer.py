"""``python -m QEfficient.cloud.infer``: compiles a model that writes text and runs prompts, by the vendor's flags.

A flag that is not known here is an option of the compiler: ``--name`` or ``--name value``, as ``compile`` takes it.
Each name may be written with ``-`` or ``_`` between its words.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from QEfficient.backends.card_options import TABLE
from QEfficient.errors import NotYetSupportedError, QEfficientError

_AS_WRITTEN = ("text", "names", "path", "file")
"""Kinds of compiler options whose values are strings, though they may look like numbers."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line; argparse prints all flags before it."""
        self.exit(2, f"error: {message}; --help lists the flags\n")


def parser() -> argparse.ArgumentParser:
    """The known flags, with the vendor's defaults."""
    made = _Parser(
        prog="python -m QEfficient.cloud.infer",
        description="Compile a model that writes text, and run prompts. Other flags go to the compiler.",
        allow_abbrev=False,
    )
    _of_the_model(made)
    _of_the_program(made)
    _of_the_run(made)
    return made


def _of_the_model(made: argparse.ArgumentParser) -> None:
    made.add_argument("--model-name", required=True, help="hub id or folder")
    made.add_argument("--local-model-dir", help="folder that the model is read from, in place of its name")
    made.add_argument("--cache-dir", help="where files from the hub are kept")
    made.add_argument("--hf-token", help="token of the hub")
    made.add_argument("--trust-remote-code", action="store_true", help="run the repo's own code")


def _of_the_program(made: argparse.ArgumentParser) -> None:
    made.add_argument("--num-cores", type=int, required=True, help="AI cores of an instance on the card")
    made.add_argument("--batch-size", type=int, default=1, help="rows that run together (1)")
    made.add_argument("--full-batch-size", type=int, help="rows of continuous batching, in place of --batch-size")
    made.add_argument("--prompt-len", type=int, default=32, help="tokens of a prompt that are read at once (32)")
    made.add_argument("--ctx-len", type=int, default=128, help="tokens of a prompt and its answer together (128)")
    made.add_argument("--comp-ctx-lengths-prefill", type=_numbers, help="not built: refused by name")
    made.add_argument("--comp-ctx-lengths-decode", type=_numbers, help="not built: refused by name")
    made.add_argument("--ccl-enabled", action="store_true", help="not built: refused by name")
    made.add_argument("--mxfp6", "--mxfp6-matmul", action="store_true", help="weights as MXFP6 on the card")
    made.add_argument("--mxint8", "--mxint8-kv-cache", action="store_true", help="caches as MXINT8 on the card")
    made.add_argument("--mos", type=int, default=1, help="effort to cut the use of on-chip memory (1)")
    made.add_argument("--aic-enable-depth-first", action="store_true", help="schedule depth first")
    made.add_argument("--allow-mxint8-mdp-io", action="store_true", help="MXINT8 for traffic between devices")
    made.add_argument("--use-onnx-subfunctions", action="store_true", help="repeated layers as ONNX functions")
    made.add_argument("--dynamo", action="store_true", help="torch's dynamo exporter, which is used in any case")
    made.add_argument("--enable-qnn", nargs="?", const="", metavar="CONFIG", help="not built: refused by name")


def _of_the_run(made: argparse.ArgumentParser) -> None:
    made.add_argument("--prompt", help='prompts, such as "one|another"')
    made.add_argument("--prompts-txt-file-path", help="file with one prompt a line")
    made.add_argument("--generation-len", type=int, help="most new tokens; left out, as many as fit")
    made.add_argument("--device-group", type=_numbers, help='devices that one program spans, such as "[0,1]"')
    made.add_argument("-v", "--verbose", action="store_true", help="log what is done")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script.

    Args:
        argv: Its arguments; left out, those of the process.

    Returns:
        The exit code: 0, or 1 with the library's error on stderr, or 130 behind Ctrl-C. Wrong arguments exit with 2.
    """
    flags = parser()
    asked, left = flags.parse_known_args([_dashed(word) for word in (sys.argv[1:] if argv is None else argv)])
    if (asked.prompt is None) == (asked.prompts_txt_file_path is None):
        flags.error("one of --prompt and --prompts-txt-file-path is needed")
    options = _compiler_options(left, flags)
    if asked.verbose:
        logging.basicConfig(level=logging.INFO)
    try:
        _run(asked, options)
    except QEfficientError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(asked: argparse.Namespace, options: dict[str, Any]) -> None:
    if asked.enable_qnn is not None:
        raise NotYetSupportedError(
            "--enable-qnn is not taken: programs are compiled by qaic-compile or qaic-exec.",
            got="--enable-qnn",
            allowed="the flag left out",
            do="drop it",
        )
    from QEfficient.auto.causal_lm import QEFFAutoModelForCausalLM

    of_hub = {"cache_dir": asked.cache_dir, "token": asked.hf_token, "trust_remote_code": asked.trust_remote_code}
    model = QEFFAutoModelForCausalLM.from_pretrained(
        asked.local_model_dir or asked.model_name,
        continuous_batching=asked.full_batch_size is not None,
        qaic_config={"ccl_enabled": True} if asked.ccl_enabled else None,
        **{name: value for name, value in of_hub.items() if value},
    )
    model.compile(**_compile_keywords(asked) | options)
    found = model.generate(
        prompts=None if asked.prompt is None else asked.prompt.split("|"),
        device_id=asked.device_group,
        prompts_txt_file_path=asked.prompts_txt_file_path,
        generation_len=asked.generation_len,
    )
    print(f"\n{found}")


def _compile_keywords(asked: argparse.Namespace) -> dict[str, Any]:
    """What ``compile`` is called with; of the two kinds of rows, those that were asked for."""
    slots = asked.full_batch_size is not None
    rows = {"full_batch_size": asked.full_batch_size} if slots else {"batch_size": asked.batch_size}
    return {
        **rows,
        "prefill_seq_len": asked.prompt_len,
        "ctx_len": asked.ctx_len,
        "comp_ctx_lengths_prefill": asked.comp_ctx_lengths_prefill,
        "comp_ctx_lengths_decode": asked.comp_ctx_lengths_decode,
        "num_cores": asked.num_cores,
        "num_devices": 1 if asked.device_group is None else len(asked.device_group),
        "mxfp6_matmul": asked.mxfp6,
        "mxint8_kv_cache": asked.mxint8,
        "use_onnx_subfunctions": asked.use_onnx_subfunctions,
        "mos": asked.mos,
        "aic_enable_depth_first": asked.aic_enable_depth_first,
        "allow_mxint8_mdp_io": asked.allow_mxint8_mdp_io,
    }


# ---------------------------------------------------------------------------------------------- words


def _dashed(word: str) -> str:
    """A flag's name with ``-`` between its words; its value as it is.

    >>> _dashed("--ctx_len=1_000"), _dashed("a_b")
    ('--ctx-len=1_000', 'a_b')
    """
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if re.fullmatch("--[A-Za-z][A-Za-z0-9_-]*", name) else word


def _numbers(text: str) -> list[int]:
    """``"[0,1]"`` or ``"0,1"`` → ``[0, 1]``."""
    return [int(part) for part in text.strip("[] ").split(",")]


def _compiler_options(words: Sequence[str], flags: argparse.ArgumentParser) -> dict[str, Any]:
    """``["--mdts-mos", "2", "--io-crc"]`` → ``{"mdts_mos": 2, "io_crc": True}``."""
    found: dict[str, Any] = {}
    waiting: str | None = None  # a name that may still get a value
    for word in words:
        if re.match("--[A-Za-z]", word):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            found[name] = _value(name, value) if equals else True
            waiting = None if equals else name
        elif waiting is None:
            flags.error(f"{word!r} stands behind no flag")
        else:
            found[waiting] = _value(waiting, word)
            waiting = None
    return found


def _value(name: str, text: str) -> Any:
    """A value as ``compile`` takes it: a number, a list of numbers, a bool, else the string."""
    if name in TABLE and TABLE[name].kind in _AS_WRITTEN:
        return text
    for form in (text.lower(), f"[{text}]"):
        try:
            return json.loads(form)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    sys.exit(main())
