"""Mutated input files in large numbers: how many give a result, how many a refusal, and whatever else is a fault.

python benchmarks/fuzz.py [--cases N] [--start N] [--limit SECONDS] [FAMILY ... | FAMILY:NUMBER ...]

A large number of cases may be run in pieces: --cases counts those of all families together, --start is the number of
the first one of each, so that a piece of N cases over F families is followed by one that starts N / F later.

Every case is made from its family and its number alone, so that a fault can be repeated by its name, such as
``onnx:1234``. Exits with 1 if there is a fault: an exception that is no AccelsimError, a result that is no number, more
than 3 GiB, or more than the limit of 10 seconds. The kernels of the engine and of the layouts are compiled before.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.fuzz import FAMILIES, Case, Outcome, attempt, case
from support.kernels_ahead import compile_ahead

ROW = "{:<12} {:>7} {:>7} {:>8} {:>7} {:>9} {:>9}   {}"


def place(trace: str) -> str:
    """The last line of a traceback, and the last place in accelsim that it names."""
    places = re.findall(r'File ".*?((?:accelsim|workloads|mappers)/\S+)", line (\d+)', trace)
    where = ":".join(places[-1]) if places else "?"
    return f"{where} {trace.strip().splitlines()[-1][:110]}"


def wanted(texts: list[str], cases: int, first: int) -> list[tuple[str, int]]:
    """Family and number of every case."""
    single = [t.partition(":") for t in texts if ":" in t]
    families = [t for t in texts if ":" not in t] or ([] if single else list(FAMILIES))
    each = cases // max(1, len(families))
    return [(f, int(n)) for f, _, n in single] + [(f, first + i) for f in families for i in range(each)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first case of each family")
    parser.add_argument("--limit", type=int, default=10, help="seconds for one case")
    parser.add_argument("which", nargs="*", metavar="FAMILY[:NUMBER]")
    given = parser.parse_args()
    found: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)
    start = time.perf_counter()
    compile_ahead(0, workers=1)
    print(f"kernels compiled in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for family, number in wanted(given.which, given.cases, given.start):
            made = case(family, number)
            # Compiled code does not see the alarm of `attempt`; this ends the process, and says where it was.
            faulthandler.dump_traceback_later(given.limit + 60, exit=True)
            found[family].append((made, attempt(made, Path(folder), limit_s=given.limit)))
    faulthandler.cancel_dump_traceback_later()
    print(ROW.format("family", "cases", "done", "refused", "faults", "median ms", "max ms", "slowest"))
    for family, rows in found.items():
        kinds = Counter(outcome.kind for _, outcome in rows)
        times = sorted((outcome.seconds, str(made)) for made, outcome in rows)
        print(ROW.format(family, len(rows), kinds["done"], kinds["refused"], kinds["fault"],
                         f"{1000 * times[len(times) // 2][0]:.1f}", f"{1000 * times[-1][0]:.0f}", times[-1][1]))
    faults = [(made, outcome) for rows in found.values() for made, outcome in rows if outcome.kind == "fault"]
    groups: dict[str, list[tuple[Case, Outcome]]] = defaultdict(list)
    for made, outcome in faults:
        where, _, what = place(outcome.detail).partition(" ")
        groups[f"{where} {re.sub('[0-9]+', '#', what)[:60]}"].append((made, outcome))
    for group in sorted(groups.values(), key=len, reverse=True):
        print(f"{len(group)} x {group[0][0]}: {place(group[0][1].detail)}")
    if given.which and len(faults) == 1:
        print(faults[0][1].detail)
    if not given.which:
        print(f"next piece: --start {given.start + max(map(len, found.values()))}")
    print(f"{sum(map(len, found.values()))} cases in {time.perf_counter() - start:.0f} s, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
