"""SCALE-Sim 3.0.0 and accelsim on the same configuration and topology: the same cycles, and the ratio of their times.

python benchmarks/scalesim_peer.py [--venv FOLDER] [--config FILE.cfg --topology FILE.csv]

SCALE-Sim is installed with pip into a virtual environment, in a temporary folder or in FOLDER (which is kept, and used
again). Both simulators read the two files and run them, each in one process, timed from after its imports; accelsim has
run another topology before, which loads its compiled kernel. The default is SCALE-Sim's own AlexNet on 32 × 32
elements, minutes of its time. Exits with 1 if a layer's cycles differ.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REQUIREMENTS = ("scalesim==3.0.0", "numpy<2.4")
CONFIG = """\
[general]
run_name = peer

[architecture_presets]
ArrayHeight: 32
ArrayWidth: 32
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: ws
ReadRequestBuffer: 32
WriteRequestBuffer: 32

[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2

[sparsity]
SparsitySupport: false

[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
HEADING = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"
TOPOLOGY = f"""{HEADING}\
Conv1, 224, 224, 11, 11, 3, 96, 4,
Conv2, 27, 27, 5, 5, 96, 256, 1,
Conv3, 13, 13, 3, 3, 256, 384, 1,
Conv4, 13, 13, 3, 3, 384, 384, 1,
Conv5, 13, 13, 3, 3, 384, 256, 1,
"""
WARM_UP = HEADING + "Other, 9, 9, 2, 2, 3, 5, 1,\n"
Seconds = tuple[float, float]
"""On the clock, and of the processor: the second is the fairer one on a machine that is busy."""
PEER = """\
import contextlib, io, json, sys, time
from scalesim.scale_sim import scalesim
config, topology, layout, out = sys.argv[1:]
start = time.perf_counter(), time.process_time()
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    scalesim(save_disk_space=True, verbose=False, config=config, topology=topology, layout=layout).run_scale(out)
print(json.dumps([time.perf_counter() - start[0], time.process_time() - start[1]]))
"""


def peer_python(folder: Path) -> Path:
    """The Python of a virtual environment that has SCALE-Sim, made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return python


def run_peer(python: Path, config: Path, topology: Path, folder: Path) -> tuple[Seconds, dict[str, int]]:
    """Seconds, and cycles by layer."""
    layout, out = folder / "layout.csv", folder / "out"
    layout.write_text("Layer name,\n")
    command: list[str | Path] = [python, "-c", PEER, config, topology, layout, out]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    (report,) = out.rglob("COMPUTE_REPORT.csv")
    with report.open() as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    names = [line.split(",")[0].strip() for line in topology.read_text().splitlines()[1:] if line.strip()]
    # It prints the index of the last cycle as its total.
    cycles = {name: int(float(row["Total Cycles"])) + 1 for name, row in zip(names, rows, strict=True)}
    clock, processor = json.loads(ran.stdout.splitlines()[-1])
    return (clock, processor), cycles


def run_accelsim(config: Path, topology: Path, folder: Path) -> tuple[Seconds, dict[str, int]]:
    """Seconds, and cycles by layer."""
    from accelsim import load_architecture, load_model, simulate

    other = folder / "other.csv"
    other.write_text(WARM_UP)
    simulate(load_architecture(str(config)), load_model(str(other)))
    start = time.perf_counter(), time.process_time()
    report = simulate(load_architecture(str(config)), load_model(str(topology)))
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    return seconds, {o.name: round(o.cycles) for o in report.operators}


def main() -> int:
    """Run both, print a table and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--venv", type=Path, help="keep SCALE-Sim's virtual environment here")
    parser.add_argument("--config", type=Path, help="a configuration of SCALE-Sim in bandwidth mode CALC")
    parser.add_argument("--topology", type=Path, help="convolutions")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, topology = given.config or folder / "peer.cfg", given.topology or folder / "peer.csv"
        if given.config is None:
            config.write_text(CONFIG)
        if given.topology is None:
            topology.write_text(TOPOLOGY)
        python = peer_python((given.venv or folder / "venv").absolute())
        seconds, cycles = run_accelsim(config, topology, folder)
        peer_seconds, peer_cycles = run_peer(python, config, topology, folder)
    for layer, count in peer_cycles.items():
        print(f"{layer:20} SCALE-Sim {count:>12,} cycles   accelsim {cycles[layer]:>12,}")
    for what, theirs, ours in zip(("clock", "processor"), peer_seconds, seconds, strict=True):
        ratio = f"ratio {theirs / ours:,.0f} (target 1,000)"
        print(f"{what:9} SCALE-Sim {theirs:.2f} s, accelsim {ours * 1e3:.1f} ms: {ratio}")
    return int(cycles != peer_cycles)


if __name__ == "__main__":
    sys.exit(main())
