"""QEfficient and what people would pick instead to write text, side by side on this machine, with SmolLM2-135M.

    python -m benchmarks.peers_generation                        # five rounds, once the environments are there
    python -m benchmarks.peers_generation --only QEfficient --only ort-genai --cases A C --rounds 1
    python -m benchmarks.peers_generation --agreement 200        # also compares the answers to 200 prompts: an hour
    python -m benchmarks.peers_generation --docs                 # also writes the tables and the plots of the docs
    python -m benchmarks.peers_generation --render found.json --docs     # only those, from an earlier run

Each contender is a process of its own that stays, in an environment of its own where versions clash; pip makes those
below ``--folder`` on first use, and one of them with the C++ compiler. All have the same CPUs and threads, and only one
works at a time. In each round everybody takes a turn at each case, in an order that changes; ratios are taken within a
round.

All get the same ids and write greedily; the end of a text is not heeded, and no prefix is kept from one turn to the
next. The reference is transformers in float32. Memory's bandwidth is measured in each round.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
from pathlib import Path
from typing import Any

from benchmarks.side_by_side.contenders import chosen
from benchmarks.side_by_side.environments import TORCH, build_all
from benchmarks.side_by_side.machine import ROOT
from benchmarks.side_by_side.writing import report
from benchmarks.side_by_side.writing.cases import CASES, OTHERS, prompts
from benchmarks.side_by_side.writing.contenders import AUTHORS, REFERENCE, Author, needed
from benchmarks.side_by_side.writing.measure import Bench
from QEfficient.backends.host import usable_cpus
from tests import smollm2

FOUND = "found_generation.json"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench", help="environments, models, result")
    parser.add_argument("--torch", default=TORCH, help="requirement for torch in the environments that need it")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="CPUs of each contender")
    parser.add_argument("--rounds", type=int, default=5, help="0: what an earlier run found stays")
    parser.add_argument("--only", action="append", default=[], help="a contender, or a part of names; repeatable")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--agreement", type=int, default=0, help="prompts whose answers are compared; 0: none")
    parser.add_argument("--render", type=Path, help="take the figures of an earlier run")
    parser.add_argument("--docs", action="store_true", help="write tables and plots into docs/explanation")
    return parser.parse_args()


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """A run as the command line asks for it; also kept as :data:`FOUND` in the folder.

    Answers that were compared in an earlier run stay in the result until they are compared anew.
    """
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / FOUND
    earlier = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    words = [*args.only, REFERENCE] if args.only else []
    seated = chosen(AUTHORS, words)
    failed = build_all(folder, needed(seated), args.torch)
    bench = Bench(
        folder,
        smollm2.folder(),
        runpy.run_path(str(ROOT / "examples" / "smollm2.py"))["gguf"](),
        args.threads,
        {name: prompts(CASES[name].lengths) for name in args.cases},
        prompts(OTHERS[0], skipped=max(len(one.lengths) for one in CASES.values())),
        lambda line: print(line, file=sys.stderr, flush=True),
        {one.name: failed[one.environment] for one in seated if one.environment in failed},
    )
    able = [one for one in seated if one.name not in bench.left_out]
    found = bench.run(able, args.rounds) if args.rounds else earlier
    found["agreement"] = agreement(bench, able, args.agreement) if args.agreement else earlier.get("agreement")
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {kept}", file=sys.stderr)
    return found


def agreement(bench: Bench, authors: list[Author], count: int) -> dict[str, Any]:
    """The answers to so many prompts of ``benchmarks/same_tokens.py`` beside transformers' in float32."""
    from benchmarks.same_tokens import references

    wanted = references(count, ROOT / ".data" / "smollm2-reference.json")
    return bench.agree(authors, [one.prompt for one in wanted], [one.ids for one in wanted], smollm2.NEW_TOKENS)


def main() -> None:
    """Measures, prints, and writes what is asked for."""
    args = arguments()
    found = json.loads(args.render.read_text(encoding="utf-8")) if args.render else measured(args)
    print(report.markdown(found))
    if args.docs:
        report.write_docs(found, ROOT / "docs" / "explanation")


if __name__ == "__main__":
    main()
