"""Runs AccelForge's mapper on its TPUv4i and its GPT-3 6.7B; for the Python of an environment that has it.

python peer.py CASE TOKENS [INPUTS]

CASE is `layer`, all Einsums, or `attention`, those between the projections. INPUTS is a folder with AccelForge's
`arches` and `workloads`, unless it is that of its examples. Prints one line of JSON: seconds of the clock and of the
processor for the search, joules in all and by component, seconds that the Einsums take, bytes read from and written to
each memory, and the Einsums.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import accelforge as af
from accelforge.examples import EXAMPLES_DIR
from accelforge.mapper.FFM.mappings import Mappings

ATTENTION = ("QK", "QK_softmax", "AV")
BITS = 16


def specification(inputs: Path, case: str, tokens: int) -> af.Spec:
    """The file of the layer is in another folder, with other names, from release to release; widths are 16 bits."""
    layer = next((inputs / "workloads").rglob("gpt3_6.7B.yaml"))
    given = {"BATCH_SIZE": 1, "DECODE": False, "N_NEW_TOKENS": tokens, "N_TOKENS": tokens}
    spec = af.Spec.from_yaml(inputs / "arches" / "tpu_v4i.yaml", layer, jinja_parse_data=given)
    spec.workload.bits_per_value["All"] = BITS
    if case == "attention":
        einsums = spec.workload.einsums
        spec.workload.einsums = type(einsums)([e for e in einsums if e.name in ATTENTION])
    spec.mapper.metrics = af.Metrics.ENERGY
    return spec


def main() -> None:
    case, tokens, *rest = sys.argv[1:]
    inputs = Path(rest[0]).absolute() if rest else EXAMPLES_DIR
    af.set_n_parallel_jobs(1)  # all in this process, so that its processor time is that of the search
    Mappings.render = lambda *_, **__: ""  # a picture of the mapping, for which it needs graphviz
    spec = specification(inputs, case, int(tokens))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it leaves files where it runs
        start = time.perf_counter(), time.process_time()
        found = spec.map_workload_to_arch(print_progress=False)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    moved: dict[str, dict[str, float]] = {}
    for (component, action), bits in found.actions().items():
        moved.setdefault(component, {})[action] = float(bits) / 8
    result = {
        "seconds": seconds,
        "joules": float(found.energy()),
        "by_component": {k: float(v) for k, v in found.energy(per_component=True).items()},
        "latency_s": float(found.latency()),
        "bytes": {m: moved[m] for m in ("MainMemory", "GlobalBuffer", "LocalBuffer")},
        "einsums": [e.name for e in spec.workload.einsums],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
