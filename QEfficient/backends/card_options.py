"""The documented flags of the card's compiler, as data.

Every backend checks ``compiler_options`` of ``compile`` against this table, so that a misspelt keyword is refused on a
laptop as it is with the card. The table follows the vendor's documentation of ``qaic-compile`` and ``qaic-exec``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from QEfficient.arguments import is_number, whole
from QEfficient.backends.refusals import no_file
from QEfficient.errors import OptionError, nearest
from QEfficient.records import CompileOptions, Json

Kind = Literal["flag", "switch", "int", "float", "text", "names", "numbers", "path", "file"]
RAW = "raw_compiler_flags"
MXINT8 = "mxint8_kv_cache"
COMPILE_KEYWORDS = (
    *("onnx_path", "compile_dir", "seq_len", "batch_size", "num_devices", "num_cores", "mxfp6_matmul"),
    *("use_onnx_subfunctions", "backend", "compute", "strict", "verify", "texts", "limits", "objective"),
    "buckets",
)
"""The own keywords of ``compile``: a misspelt one arrives here too."""


@dataclass(frozen=True, slots=True)
class Option:
    """One documented flag of the compiler.

    Attributes:
        name: The keyword: the flag's name with underscores.
        kind: ``flag`` is given bare or not at all, ``switch`` as ``=true`` or ``=false``, ``names`` and ``numbers``
            as a comma-separated list, ``path`` is written by the compiler, ``file`` is read by it.
        help: What it does.
        low, high: Range of an ``int``, ``float`` or ``numbers``, the most of ``names``; ``None`` is open.
        choices: The values that a ``text`` can take, when they are a closed set.
    """

    name: str
    kind: Kind
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """As the compiler spells it: ``mxfp6_matmul`` is ``-mxfp6-matmul``."""
        return "-" + self.name.replace("_", "-")

    @property
    def allowed(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            return ", ".join(self.choices)
        words, span = _KINDS[self.kind][0], "or more" if self.high is None else f"to {self.high}"
        return words if self.low is None else f"{words} {self.low} {span}"


_SCHEMAS = ("asymmetric", "symmetric", "symmetric_with_uint8", "symmetric_with_power2_scale")
HARDWARE = ("ai100", "ai200", "2.0")
_CALIBRATIONS = ("None", "KLMinimization", "KLMinimizationV2", "Percentile", "MSE", "SQNR")

_ALL = (
    # Target
    Option("aic_hw_version", "text", "Hardware generation; left out, the device says it.", choices=HARDWARE),
    # Input and output
    Option("stats_batchsize", "int", "Batch that reported statistics are divided by.", 1),
    Option("dynamic_shape_input", "names", "Inputs to treat as dynamic in shape."),
    Option("custom_IO_list_file", "file", "YAML with the precision and layout of inputs and outputs."),
    Option("dump_custom_IO_config_template", "path", "Write a template of the custom I/O file."),
    Option("dump_custom_IO_config_template_file", "path", "Write a template of the custom I/O file."),
    Option("combine_inputs", "switch", "Merge inputs into fewer DMA buffers."),
    Option("combine_outputs", "switch", "Merge outputs into fewer DMA buffers."),
    Option("v", "flag", "Print more."),
    Option("vvv", "flag", "Print much more."),
    # Cores, scheduling, memory
    Option("ols", "int", "Split operators into this many parts that run in parallel.", 1),
    Option("mos", "numbers", "Effort to cut the use of on-chip memory; -1 leaves it to the compiler.", 1),
    Option("mdts_mos", "int", "Weight splitting over the devices of a tensor slice.", 1),
    Option("multicast_weights", "flag", "Load shared weights once and send them to all cores."),
    Option("aic_enable_depth_first", "flag", "Schedule depth first."),
    Option("aic_depth_first_mem", "int", "Memory for depth-first scheduling.", 8, 32),
    Option("allocator_dealloc_delay", "int", "Keep buffers longer, for fewer false dependencies.", 0, 10),
    Option("size_split_granularity", "int", "Largest tile, in KiB.", 512, 2048),
    Option("vtcm_working_set_limit_ratio", "float", "Share of fast memory that one instruction may use.", 0, 1),
    Option("sdp_cluster_sizes", "numbers", "Sizes of the partitions within one device.", 1),
    Option("use_producer_dma", "int", "Start a DMA from the thread that made the data.", 0, 1),
    Option("host_preproc", "flag", "Run conversions of inputs and outputs on the host."),
    Option("compile_threads", "int", "Threads of the compiler.", 1),
    Option("profiling_threads", "int", "Threads of the profiler.", 1),
    Option("sub_functions", "flag", "Keep ONNX functions as reusable sub-graphs (use_onnx_subfunctions=True)."),
    Option("always_expand_onnx_functions", "flag", "Inline every ONNX function."),
    Option("register_custom_op", "file", "Configuration file of custom operators."),
    Option("retained_state", "flag", "Keep matching X and X_RetainedState tensors on the device."),
    Option("mdp_load_partition_config", "file", "JSON that places the graph on several devices."),
    Option("mdp_dump_partition_config", "path", "Write the partition file."),
    Option("io_crc", "flag", "Check inputs and outputs with a CRC."),
    Option("io_crc_stride", "int", "Bytes between two samples of that CRC.", 1),
    Option("qpc_crc", "flag", "Check the program with a CRC."),
    Option("io_encrypt", "flag", "Encrypt inputs and outputs; the program then runs only where they are decrypted."),
    # Precision and quantisation
    Option("mxfp6_matmul", "flag", "Store the weights of matrix products as MXFP6."),
    Option("allow_mxint8_mdp_io", "flag", "MXINT8 for traffic between partitions."),
    Option("node_precision_info", "file", "YAML that names the nodes to run in FP16 or FP32."),
    Option("execute_nodes_in_fp16", "names", "Operators that run in FP16, all of their nodes."),
    Option("keep_original_precision_for_nodes", "names", "Operators that are not quantised."),
    Option("convert_to_quantize", "flag", "Profile, then quantise."),
    Option("dump_profile", "path", "Write a profile for quantisation."),
    Option("load_profile", "file", "Quantise with this profile."),
    Option("external_quantization", "file", "Encodings made by another tool."),
    Option("external_quantization_file", "file", "Encodings made by another tool."),
    Option("quantization_schema", "text", "Schema of quantisation.", choices=_SCHEMAS),
    Option("quantization_schema_activations", "text", "Schema for activations.", choices=_SCHEMAS),
    Option("quantization_schema_constants", "text", "Schema for constants.", choices=_SCHEMAS),
    Option("quantization_calibration", "text", "Method of calibration.", choices=_CALIBRATIONS),
    Option("percentile_calibration_value", "float", "Percentile, with that method.", 90, 100),
    Option("num_histogram_bins", "int", "Bins of the profile's histogram.", 1),
    Option("quantization_precision", "text", "Type of activations and weights.", choices=("Int8", "Int16")),
    Option("quantization_precision_bias", "text", "Type of the bias.", choices=("Int8", "Int32")),
    Option("enable_channelwise", "flag", "One scale per channel of a convolution."),
    Option("enable_rowwise", "flag", "One scale per row of a matrix."),
    Option("load_embedding_tables", "file", "Zip file of embedding tables."),
    Option("dump_embedding_tables", "path", "Write a zip file of embedding tables."),
    # Profiling and diagnostics
    Option("aic_profiling_type", "text", "What to profile.", choices=("stats", "trace", "latency")),
    Option("stats_level", "int", "Detail of the statistics; 70 and 100 are in use.", 0, 100),
    Option("ddr_stats", "flag", "Statistics of the memory traffic."),
    Option("time_passes", "flag", "Time of each pass of the compiler."),
    Option("aic_perf_warnings", "flag", "Warn of what makes the program slow."),
    Option("aic_perf_metrics", "flag", "Print what the compiler expects of the program."),
    Option("enable_debug", "flag", "Debug information."),
    Option(
        "aic_pmu_recipe",
        "text",
        "Set of hardware counters.",
        choices=("AxiRd", "AxiWr", "AxiRdWr", "KernelUtil", "HmxMacs"),
    ),
    Option("aic_pmu_events", "names", "Hardware counters, at most 8.", high=8),
)

TABLE: Mapping[str, Option] = MappingProxyType({option.name: option for option in _ALL})
"""Keyword → documented flag."""

OWN: Mapping[str, Option] = MappingProxyType({MXINT8: Option(MXINT8, "flag", "Keep caches as MXINT8, not as float16.")})
"""What is no flag of the compiler, but stands in a file that it reads."""

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("m", "model"), "nothing: compile takes the model that it exported, or onnx_path="),
        **dict.fromkeys(
            ("model_input", "output_node_name", "output_node_names"),
            "nothing: inputs and outputs are those of the graph",
        ),
        "aic_hw": "nothing: programs are for a card, never for the simulator",
        "aic_binary_dir": "compile_dir=",
        "aic_num_cores": "num_cores=",
        "convert_to_fp16": 'compute="fp16" (the default on the card) or compute="fp32"',
        "onnx_define_symbol": "seq_len= and batch_size=",
        "network_specialization_config": "seq_len= (a list gives several shapes) and batch_size=",
        "batchsize": "batch_size=",
        "compile_only": "nothing: it is passed where the compiler needs it",
        "aic_preproc": "host_preproc=True; the compiler can't combine it with a specialization file",
        "operators_supported": "the compiler itself; it needs no model for that",
        "device_id": "device_ids= of generate()",
        **dict.fromkeys(
            ("num_iter", "aic_num_of_instances", "input_list_file", "use_random_input_data", "json_input_file"),
            "nothing: programs are compiled here and run with generate()",
        ),
    }
)
"""Flag that the library sets itself → what to use instead."""


def parse(keywords: Mapping[str, Json]) -> CompileOptions:
    """Check ``compiler_options`` against the table.

    ``None`` and a bare flag's ``False`` leave a flag out, and so does ``mos=-1``, as in the vendor's library.

    Args:
        keywords: Flag names with underscores → values. ``raw_compiler_flags=["-x=1"]`` forces flags that the table
            does not know; they are passed on as they are.

    Raises:
        OptionError: A name is unknown or set by the library, a value is out of range, or a file does not exist.
    """
    flags: dict[str, Json] = {}
    files: dict[str, Path] = {}
    raw: tuple[str, ...] = ()
    for name, value in keywords.items():
        if name == RAW:
            raw, raw_files = _raw(value)
            files.update(raw_files)
            continue
        option = _find(name)
        if value is None or (name == "mos" and value in (-1, "-1")):
            continue
        checked = _KINDS[option.kind][1](option, value)
        if option.kind == "file":
            files[name] = checked
        elif option.kind != "flag" or checked:
            flags[name] = checked
    _combinations(flags, files)
    return CompileOptions(flags=flags, files=files, raw=raw)


def _find(name: str) -> Option:
    if name in REFUSED:
        raise OptionError(
            f"The library sets the compiler flag {name!r} itself.",
            got=name,
            allowed="the flags in QEfficient.backends.card_options.TABLE",
            do=f"use {REFUSED[name]}",
        )
    check_names([name], COMPILE_KEYWORDS)
    return TABLE.get(name) or OWN[name]


def check_names(names: Iterable[str], keywords: Iterable[str]) -> None:
    """Refuses options that nobody knows.

    Args:
        names: Of the caller's options.
        keywords: The own keywords of the ``compile`` that was called: a misspelt one arrives here too.

    Raises:
        OptionError: Names the option, and those nearest to it.
    """
    for name in names:
        if not any(name in known for known in (TABLE, OWN, REFUSED, (RAW,))):
            raise OptionError(
                f"compile knows no option {name!r}.{nearest(name, [*keywords, *OWN, *sorted(TABLE)])}",
                got=name,
                allowed="the documented compiler flags with underscores, see QEfficient.backends.card_options.TABLE",
                do=f"correct the name, or force a flag with {RAW}=['-{name.replace('_', '-')}=…']",
            )


def _bad(option: Option, value: object) -> OptionError:
    return OptionError(
        f"The option {option.name!r} can't be this.", got=value, allowed=option.allowed, do=f"it means: {option.help}"
    )


def _bool(option: Option, value: Json) -> Json:
    if not isinstance(value, bool):
        raise _bad(option, value)
    return value


def _in_range(option: Option, value: float) -> bool:
    return (option.low is None or value >= option.low) and (option.high is None or value <= option.high)


def _int(option: Option, value: Json) -> Json:
    switch = isinstance(value, bool) and (option.low, option.high) == (0, 1)
    number = whole(int(value) if switch else value)
    if number is None or not _in_range(option, number):
        raise _bad(option, value)
    return number


def _float(option: Option, value: Json) -> Json:
    if not is_number(value) or not _in_range(option, float(value)):
        raise _bad(option, value)
    return float(value)


def _text(option: Option, value: Json) -> Json:
    if not isinstance(value, str) or not value or (option.choices and value not in option.choices):
        raise _bad(option, value)
    return value


def _names(option: Option, value: Json) -> Json:
    names = value.split(",") if isinstance(value, str) else value
    listed = isinstance(names, list | tuple) and all(isinstance(name, str) and name.strip() for name in names)
    if not listed or not names or any("," in name for name in names) or len(names) > (option.high or len(names)):
        raise _bad(option, value)
    return [name.strip() for name in names]


def _numbers(option: Option, value: Json) -> Json:
    if not isinstance(value, list | tuple):
        return _int(option, value)
    if not value:
        raise _bad(option, value)
    return [_int(option, number) for number in value]


def _path(option: Option, value: Json) -> Json:
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise _bad(option, value)
    return str(Path(value).expanduser().absolute())


def _file(option: Option, value: Json) -> Json:
    path = Path(_path(option, value))
    if not path.is_file():
        raise no_file(option.name, path)
    return path


_KINDS: Mapping[Kind, tuple[str, Callable[[Option, Json], Json]]] = {
    "flag": ("True or False", _bool),
    "switch": ("True or False", _bool),
    "int": ("an integer", _int),
    "float": ("a number", _float),
    "text": ("a string", _text),
    "names": ("a list of names", _names),
    "numbers": ("an integer or a list of integers,", _numbers),
    "path": ("the path of a file to write", _path),
    "file": ("the path of a file that exists", _file),
}
"""Kind → what it takes, in words, and what checks a value and gives it as it is kept."""


def raw_file_name(position: int) -> str:
    """The name in ``CompileOptions.files`` of the file that the raw flag at ``position`` reads."""
    return f"{RAW}[{position}]"


def _raw(value: Json) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Raw flags, and the files among their values: a file's content belongs to the cache key."""
    usable = isinstance(value, list | tuple) and all(isinstance(v, str) and v.startswith("-") for v in value)
    if not usable:
        raise OptionError(
            f"{RAW} can't be this.", got=value, allowed="a list of strings that start with '-'", do=f"{RAW}=['-x=1']"
        )
    files: dict[str, Path] = {}
    for position, flag in enumerate(value):
        _, _, text = flag.partition("=")
        if text and Path(text).expanduser().is_file():
            files[raw_file_name(position)] = Path(text).expanduser().absolute()
    return tuple(value), files


def _combinations(flags: Mapping[str, Json], files: Mapping[str, Path]) -> None:
    others = [name for name in ("dump_profile", "load_profile") if name in flags or name in files]
    if flags.get("convert_to_quantize") and others:
        raise OptionError(
            f"convert_to_quantize can't be combined with {others[0]}.",
            got=["convert_to_quantize", *others],
            allowed="convert_to_quantize alone, or the two steps dump_profile then load_profile",
            do="drop one of them",
        )
