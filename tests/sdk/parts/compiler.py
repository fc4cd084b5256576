"""Fake ``qaic-compile`` and ``qaic-exec``: strict about its arguments, writes a program that the fake runtime reads."""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import yaml

CONTROL: dict = {}  # filled by main
MAGIC = 0x00A1CD7C
# ONNX element type → type number in QAicApi, bytes
TYPES = {1: (0, 4), 10: (1, 2), 6: (6, 4), 7: (7, 8), 9: (8, 1), 3: (8, 1)}

FLAGS = """aic-hw compile-only multicast-weights aic-enable-depth-first aic-preproc host-preproc sub-functions
always-expand-onnx-functions retained-state io-crc qpc-crc io-encrypt convert-to-fp16 mxfp6-matmul allow-mxint8-mdp-io
convert-to-quantize enable-channelwise enable-rowwise ddr-stats time-passes aic-perf-warnings aic-perf-metrics
enable-debug v vvv use-random-input-data""".split()
SWITCHES = "combine-inputs combine-outputs retained-state".split()
LISTS = """dynamic-shape-input output-node-name output-node-names execute-nodes-in-fp16 aic-pmu-events
keep-original-precision-for-nodes model-input""".split()
READ = """m model custom-IO-list-file network-specialization-config mdp-load-partition-config node-precision-info
input-list-file json-input-file
load-profile external-quantization external-quantization-file register-custom-op load-embedding-tables""".split()
WRITTEN = """aic-binary-dir dump-custom-IO-config-template dump-custom-IO-config-template-file dump-profile
mdp-dump-partition-config dump-embedding-tables""".split()
INTEGERS = {  # name → lowest, highest
    "aic-num-cores": (1, 64),
    "batchsize": (1, None),
    "stats-batchsize": (1, None),
    "ols": (1, 64),
    "mdts-mos": (1, None),
    "aic-depth-first-mem": (8, 32),
    "allocator-dealloc-delay": (0, 10),
    "size-split-granularity": (512, 2048),
    "use-producer-dma": (0, 1),
    "compile-threads": (1, None),
    "profiling-threads": (1, None),
    "io-crc-stride": (1, None),
    "num-histogram-bins": (1, None),
    "device-id": (0, None),
    "num-iter": (1, None),
    "aic-num-of-instances": (1, None),
    "stats-level": (0, 100),
}
NUMBERS = {"vtcm-working-set-limit-ratio": (0, 1), "percentile-calibration-value": (90, 100)}
INTEGER_LISTS = {"mos": (1, 64), "sdp-cluster-sizes": (1, None)}
_SCHEMA = "asymmetric symmetric symmetric_with_uint8 symmetric_with_power2_scale".split()
CHOICES = {
    "aic-hw-version": ["2.0", "ai100", "ai200"],
    "operators-supported": ["onnx", "tensorflow", "pytorch", "caffe", "caffe2"],
    "aic-profiling-type": ["stats", "trace", "latency"],
    "aic-pmu-recipe": ["AxiRd", "AxiWr", "AxiRdWr", "KernelUtil", "HmxMacs"],
    "quantization-schema": _SCHEMA,
    "quantization-schema-activations": _SCHEMA,
    "quantization-schema-constants": _SCHEMA,
    "quantization-calibration": ["None", "KLMinimization", "KLMinimizationV2", "Percentile", "MSE", "SQNR"],
    "quantization-precision": ["Int8", "Int16"],
    "quantization-precision-bias": ["Int8", "Int32"],
}


class Refused(Exception):
    """The compiler's reason to stop."""


def need(condition: object, message: str) -> None:
    if not condition:
        raise Refused(message)


def parse(arguments: list) -> dict:
    """``-name`` and ``-name=value``; a symbol may be defined several times, nothing else may be repeated."""
    found, symbols = {}, {}
    for argument in arguments:
        name, equals, value = argument.removeprefix("-").partition("=")
        need(argument.startswith("-") and not argument.startswith("--"), f"Invalid option {argument}.{HELP}")
        if name == "onnx-define-symbol":
            symbol, comma, size = value.rpartition(",")
            need(comma and size.isdigit(), f"bad value {value!r} of -{name}")
            symbols[symbol] = int(size)
            continue
        need(name not in found, f"option -{name} given twice")
        found[name] = check(name, value if equals else None)
    return {**found, "symbols": symbols}


HELP = " Use -h, -help, or --help for list of options."


def check(name: str, value: str | None) -> object:
    if value is None:
        need(name in FLAGS, f"Invalid option -{name}.{HELP}" if not known(name) else f"-{name} needs a value")
        return True
    need(known(name), f"Invalid option -{name}.{HELP}")
    if name in SWITCHES:
        need(value in ("true", "false"), f"bad value {value!r} of -{name}")
        return value == "true"
    need(name not in FLAGS, f"-{name} takes no value")
    if name in READ:
        need(Path(value).is_file(), f"cannot open {value}, given by -{name}")
    if name in CHOICES:
        need(value in CHOICES[name], f"bad value {value!r} of -{name}")
    number = r"\d+" if name in INTEGERS else r"\d+(\.\d+)?" if name in NUMBERS else r"\d+(,\d+)*"
    ranges = {**INTEGERS, **NUMBERS, **INTEGER_LISTS}
    if name in ranges:
        low, high = ranges[name]
        need(re.fullmatch(number, value), f"bad value {value!r} of -{name}")
        parts = [float(part) for part in value.split(",")]
        need(all(low <= part <= (high or math.inf) for part in parts), f"value {value} of -{name} out of range")
    return value


def known(name: str) -> bool:
    tables = (FLAGS, SWITCHES, LISTS, READ, WRITTEN, INTEGERS, NUMBERS, INTEGER_LISTS, CHOICES)
    return any(name in table for table in tables)


def check_together(options: dict) -> None:
    need("m" in options or "model" in options, "no model given")
    need("aic-hw" in options, "-aic-hw is required")
    need("aic-binary-dir" in options, "-aic-binary-dir is required")
    need("aic-hw-version" in options, "-aic-hw-version is required")
    if CONTROL["generation"] == "old":
        need(options["aic-hw-version"] == "2.0", "-aic-hw-version must be 2.0")
        need("compile-only" in options, "no device to run the model on; did you mean -compile-only?")
    clash = "aic-preproc" in options and "network-specialization-config" in options
    need(not clash, "-aic-preproc can not be combined with -network-specialization-config")
    both = "convert-to-quantize" in options and {"dump-profile", "load-profile"} & set(options)
    need(not both, "-convert-to-quantize can not be combined with a profile")
    half = "mxfp6-matmul" not in options or "convert-to-fp16" in options
    need(half, "-mxfp6-matmul needs -convert-to-fp16")
    target = Path(options["aic-binary-dir"])
    need(not (target / "programqpc.bin").exists(), f"{target} already holds a program")
    need(target.parent.is_dir(), f"{target.parent} does not exist")


def specializations(path: str | None, symbols: dict, free: set, retained: bool) -> tuple:
    """One mapping of symbol → size per shape, every free symbol bound in each; and a name for each."""
    if path is None:
        entries, labels = [symbols], ["0"]
    else:
        entries = [_entry(entry) for entry in json.loads(Path(path).read_text())["specializations"]]
        names = [name for name, _ in entries if name is not None]
        need(entries, "no specialization")
        need(len(set(names)) == len(names), f"specialization names repeat: {names}")
        labels = names if len(names) == len(entries) else [str(place) for place in range(len(entries))]
        entries = [{**symbols, **sizes} for _, sizes in entries]
    for entry in entries:
        need(free <= set(entry), f"symbols {sorted(free - set(entry))} are not bound")
        # the vendor's own files for decoders hold a symbol that no graph has
        need(retained or set(entry) <= free, f"symbols {sorted(set(entry) - free)} are not in the model")
    need(len({json.dumps(e, sort_keys=True) for e in entries}) == len(entries), "a specialization repeats")
    return entries, labels


def _entry(entry: dict) -> tuple:
    named = set(entry) == {"name", "symbols"}
    need(not (named and CONTROL["generation"] == "old"), "symbol 'symbols' is not in the model")
    name, sizes = (entry["name"], entry["symbols"]) if named else (None, entry)
    for symbol, size in sizes.items():
        need(isinstance(size, str) and size.isdigit(), f"size of {symbol!r} is not a string of digits: {size!r}")
    return name, {symbol: int(size) for symbol, size in sizes.items()}


def check_partition(path: str | None, cores: int) -> int:
    """Number of devices; deviceId must run from 0, and every device needs the cores that the program has."""
    if path is None:
        return 1
    config = json.loads(Path(path).read_text())
    devices = {d["deviceId"]: d["numCores"] for part in config["partitions"] for d in part["devices"]}
    need(sorted(devices) == list(range(len(devices))), f"deviceId must be 0 to {len(devices) - 1}")
    need(len(devices) <= 16, "more than 16 devices")
    need(set(devices.values()) == {cores}, f"numCores differs from -aic-num-cores={cores}")
    for connection in config.get("connections", []):
        need(connection["type"] in ("p2p", "host"), f"unknown connection {connection['type']!r}")
        need(set(connection["devices"]) <= set(devices), "a connection names an unknown device")
    return len(devices)


def custom_io(path: str | None, names: set, pairs: dict) -> dict:
    found = {}
    for entry in yaml.safe_load(Path(path).read_text()) if path else []:
        name, precision = entry["IOName"], entry["Precision"]
        state = name in pairs or name in pairs.values()
        need(name in names, f"custom I/O names {name!r}, which is not in the model")
        need(name not in found, f"custom I/O names {name!r} twice")
        known = ("float", "float16", "int8", *(["mxint8"] if state else []))
        need(precision in known, f"custom I/O precision {precision!r} of {name!r}")
        found[name] = precision
    for name, output in pairs.items():
        both = [found.get(one) for one in (name, output)]
        need(both[0] == both[1], f"custom I/O gives {name!r} and {output!r} different precisions: {both}")
    if CONTROL.get("float16_logits"):
        found["logits"] = "float16"
    return found


def retained_pairs(graph) -> dict:
    """State input → the output that is its next value. Each such output needs its input, of the same type and dims."""
    inputs = {value.name: value for value in graph.input}
    found = {}
    for output in graph.output:
        name = re.sub(r"_(Internal)?RetainedState$", "", output.name)
        if name != output.name:
            need(name in inputs, f"{output.name!r} is retained, but there is no input {name!r}")
            one, other = (value.type.tensor_type for value in (inputs[name], output))
            dims = [[dim.dim_param or dim.dim_value for dim in kind.shape.dim] for kind in (one, other)]
            same = one.elem_type == other.elem_type and dims[0] == dims[1]
            need(same, f"{name!r} and {output.name!r} differ in type or shape: {dims}")
            found[name] = output.name
    return found


def check_entries(bindings: list, allowed: list, pairs: dict) -> None:
    """The runtime chooses an entry by the dims that are given; those of state are not."""
    state = {*pairs, *pairs.values()}
    others = [
        json.dumps([shape["dims"] for shape, b in zip(entry, bindings, strict=True) if b["name"] not in state])
        for entry in allowed
    ]
    need(len(set(others)) == len(others), "two specializations differ in nothing but the dims of retained state")


def describe(path: Path, graph, shapes: list, precisions: dict, pairs: dict) -> tuple:
    """Bindings and allowed shapes: inputs first, then outputs, index counting over both."""
    constants = {tensor.name for tensor in graph.initializer}
    state = {*pairs, *pairs.values()}
    others_partial = CONTROL.get("partial_others", False) if pairs else len(shapes) > 1
    opaque = CONTROL.get("mxint8_type", 8)
    values = [(v, 0) for v in graph.input if v.name not in constants] + [(v, 1) for v in graph.output]
    bindings, allowed = [], [[] for _ in shapes]
    for index, (value, direction) in enumerate(values):
        kind = value.type.tensor_type
        number, item = TYPES[kind.elem_type]
        special = {"float16": (1, 2), "int8": (2, 1), "mxint8": (opaque, {1: 2}.get(opaque, 1))}
        number, item = special.get(precisions.get(value.name), (number, item))
        dims = [[d.dim_value or sizes.get(d.dim_param, 0) for d in kind.shape.dim] for sizes in shapes]
        if direction and not all(all(d) for d in dims):
            dims = [inferred(path, sizes)[value.name] for sizes in shapes]
        need(all(all(d) for d in dims), f"shape of {value.name!r} is not known at compile time")
        for entry, shape in zip(allowed, dims, strict=True):
            entry.append({"type": number if not CONTROL.get("wrong_type") else number + 1, "dims": shape})
        own = dims[0] if CONTROL.get("binding_dims", "largest") == "first" else max(dims, key=math.prod)
        bindings.append(
            {
                "name": value.name,
                "index": index,
                "type": number,
                "dir": direction,
                "dims": own,
                "size": item * math.prod(own) + (4 if CONTROL.get("wrong_size") else 0),
                "partial": CONTROL.get("partial_state", True) if value.name in state else others_partial,
            }
        )
    return bindings, allowed if len(shapes) > 1 else []


def inferred(path: Path, sizes: dict) -> dict:
    """Output name → dims, where they follow from the inputs' (a clip's frames): as one run of the graph shows them."""
    import numpy
    import onnxruntime

    kinds = {"tensor(float)": numpy.float32, "tensor(int64)": numpy.int64}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feed = {v.name: numpy.ones([sizes.get(d, d) for d in v.shape], kinds[v.type]) for v in session.get_inputs()}
    outputs = session.run(None, feed)
    return {v.name: list(array.shape) for v, array in zip(session.get_outputs(), outputs, strict=True)}


def fail_as_told(options: dict) -> None:
    """The injected failures that need no model."""
    failure, target = CONTROL.get("compiler_failure"), Path(options["aic-binary-dir"])
    if failure == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if failure == "hang":  # with a helper that would outlive a compiler that is ended alone
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"helper {helper.pid}", flush=True)
        time.sleep(600)
    if failure in ("no_file", "partial", "empty_file"):
        target.mkdir()
        (target / "constants.bin").write_bytes(b"half")
        if failure == "empty_file":
            (target / "programqpc.bin").touch()
        if failure == "partial":
            raise Refused("Unable to Compile")
        print(f"Generated binary is present at {target}")
        sys.exit(0)
    if failure == "unsupported":
        sys.stderr.write(
            "QAIC_ERROR: \nError message: Operator not supported: "
            "[Operator-'Einsum', opset_version-18, ir_version-10]\nQAICException: Unable to Compile\n"
        )
        sys.exit(1)


def compile_model(options: dict) -> None:
    import onnx

    path, target = Path(options.get("m") or options["model"]), Path(options["aic-binary-dir"])
    print(f"Reading ONNX Model from {path}")
    model = onnx.load_model(path, load_external_data=False)
    graph, retained = model.graph, bool(options.get("retained-state"))
    highest = CONTROL.get("highest_opset", math.inf)
    for domain in model.opset_import:
        need(domain.domain not in ("", "ai.onnx") or domain.version <= highest, f"opset {domain.version} is too new")
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    free = {dim.dim_param for value in inputs for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    shapes, labels = specializations(options.get("network-specialization-config"), options["symbols"], free, retained)
    names = {value.name for value in (*inputs, *graph.output)}
    pairs = retained_pairs(graph) if retained else {}
    precisions = custom_io(options.get("custom-IO-list-file"), names, pairs)
    bindings, allowed = describe(path, graph, shapes, precisions, pairs)
    check_entries(bindings, allowed, pairs)
    cores = int(options.get("aic-num-cores", 1))
    record = {
        "cores": cores,
        "devices": check_partition(options.get("mdp-load-partition-config"), cores),
        "fp16": "convert-to-fp16" in options,
        "bindings": bindings,
        "allowed": allowed,
        "entries": labels,
        "pairs": pairs,
        "precisions": {name: precisions.get(name, "float") for name in pairs},
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "compute": CONTROL.get("compute", "emulate"),
        "arguments": sys.argv[1:],
    }
    print("Compile started ..............", flush=True)
    target.mkdir(exist_ok=True)
    try:
        if record["compute"] == "emulate":
            write_network(path, target, options)
        body = json.dumps(record).encode()
        (target / "programqpc.bin").write_bytes(struct.pack("<IBBHQQ", MAGIC, 0, 1, 1, len(body), 0) + body)
    except BaseException:
        shutil.rmtree(target)
        raise


def write_network(path: Path, target: Path, options: dict) -> None:
    from emulate import emulate

    keep = frozenset()
    if "node-precision-info" in options:
        listed = yaml.safe_load(Path(options["node-precision-info"]).read_text()) or {}
        need(set(listed) <= {"FP16NodeInstanceNames", "FP32NodeInstanceNames"}, f"unknown keys {sorted(listed)}")
        keep = frozenset(listed.get("FP32NodeInstanceNames") or ())
    halves, sixes = "convert-to-fp16" in options, "mxfp6-matmul" in options
    tolerant = bool(options.get("retained-state"))
    emulate(path, target / "network.onnx", fp16=halves, mxfp6=sixes, fp32_outputs=keep, tolerant=tolerant)


def main(arguments: list) -> int:
    CONTROL.update(json.loads((Path(__file__).resolve().parents[1] / "control.json").read_text()))
    try:
        options = parse(arguments)
        check_together(options)
        fail_as_told(options)
        compile_model(options)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    print(f"Generated binary is present at {options['aic-binary-dir']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
