"""HarDNet: convolutional input and output (CIO) of CNNs, and latency beside memory traffic and MACs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import load_architecture, load_model, simulate
from ...ir import OperatorCounts, Workload, operator_counts, total_counts
from ..loader import Row, data_path, table

if TYPE_CHECKING:
    from ...report.page import Figure

IMAGES = 233
"""Of the CamVid test set, one at a time."""
LAST_DIGIT = 0.1
"""In millions of elements: table 4 prints one decimal, some of them cut off."""
UNCALIBRATED = "nothing is calibrated: launches of kernels, and how far they stay below the peaks, are not published"
LATENCY, TRAFFIC, CIO, MACS = "latency", "off-chip traffic", "CIO", "MACs"


@dataclass(frozen=True)
class Run:
    """What the simulator says of one network on one machine: seconds, and bytes to and from off-chip memory."""

    latency_s: float
    traffic_bytes: float


def network(model: str, resolution: int | None = None) -> Workload:
    """A network in fp32: of the zoo, or a file of this folder."""
    ref = data_path(__package__, model) if model.endswith(".yaml") else model
    return load_model(ref, bits=32, resolution=resolution)


@cache
def counts(model: str) -> tuple[OperatorCounts, ...]:
    """Counts of the operators of a network at the resolution of its file."""
    return operator_counts(network(model))


@cache
def run(machine: str, model: str, resolution: int | None = None) -> Run:
    """One network on one machine of this folder, one image."""
    report = simulate(load_architecture(data_path(__package__, machine)), network(model, resolution))
    return Run(report.latency_s, float(sum(report.traffic_bytes["dram"].values())))


def rows() -> Iterator[Row]:
    """CIO and MACs, then latencies of classifiers and of segmentation, the claims, and what latency correlates with."""
    networks, segmentation = table(__package__, "networks.csv"), table(__package__, "segmentation.csv")
    for r in networks:
        yield from _counts(r)
    for r in segmentation:
        yield from _segmentation(r)
    timed = [r for r in networks if r["latency_ms"]]
    for r in timed:
        got = run("gtx_1080.yaml", r["model"], 1024)
        where = f"{r['network']}, 1024x1024, GTX 1080"
        yield Row(LATENCY, where, float(r["latency_ms"]), got.latency_s * 1e3, "ms", None, r["source"], UNCALIBRATED)
        yield Row(TRAFFIC, where, None, got.traffic_bytes / 1e9, "GB", None, "simulated", "not published as numbers")
    for r in segmentation:
        if r["time_of_233_s"]:
            seconds = run("titan_v.yaml", r["model"]).latency_s * IMAGES
            yield Row(f"{LATENCY} of {IMAGES} images", f"{r['network']}, 352x480, TITAN V", float(r["time_of_233_s"]),
                      seconds, "s", None, r["source"], UNCALIBRATED)
    for r in table(__package__, "reductions.csv"):
        yield _reduction(r)
    yield from _correlations(timed)


def _counts(r: Mapping[str, str]) -> Iterator[Row]:
    where = f"{r['network']}, 224x224"
    total = total_counts(where, counts(r["model"]))
    published = float(r["cio_M"])
    if r["left_out"]:
        kept = total_counts(where, (c for c in counts(r["model"]) if not fnmatch(c.name, r["left_out"])))
        yield Row(CIO, where, published, total.cio / 1e6, "M", None, r["source"],
                  "table 4 leaves out the depthwise convolutions that take the place of pooling")
        yield Row(f"{CIO} without downsampling", where, published, kept.cio / 1e6, "M",
                  LAST_DIGIT / published, r["source"])
    elif r["model"] == "squeezenet1_0":
        yield Row(CIO, where, published, total.cio / 1e6, "M", None, r["source"],
                  "torchvision's first convolution has no padding; which variant was counted is not said")
    else:
        yield Row(CIO, where, published, total.cio / 1e6, "M", LAST_DIGIT / published, r["source"])
    if r["macs_G"]:
        yield Row(MACS, where, float(r["macs_G"]), total.macs / 1e9, "G", 0.07, r["source"])


def _segmentation(r: Mapping[str, str]) -> Iterator[Row]:
    where = f"{r['network']}, 352x480"
    total = total_counts(where, counts(r["model"]))
    note = "the table's figures are 0.97 to 0.99 of the formula's, for a reason that is not said"
    yield Row(CIO, where, float(r["cio_MiB"]), total.cio * 4 / 2**20, "MiB of fp32", 0.04, r["source"], note)
    yield Row("operations", where, float(r["gigaoperations"]), 2 * total.macs / 1e9, "G", 0.03, r["source"],
              "printed as GMACs; they are operations, two per multiply-accumulate")


def _reduction(r: Mapping[str, str]) -> Row:
    resolution = int(r["resolution"]) if r["resolution"] else None
    mine, other = (run(r["machine"], r[key], resolution) for key in ("model", "baseline_model"))
    return Row(f"reduction of {LATENCY}", f"{r['network']} from {r['baseline']}", float(r["reduction"]),
               1 - mine.latency_s / other.latency_s, "", None, r["source"], UNCALIBRATED)


def _correlations(timed: Sequence[Mapping[str, str]]) -> Iterator[Row]:
    """Pearson's coefficient over the classifiers; the published ones from the numbers of table 4."""
    printed = np.array([float(r["latency_ms"]) for r in timed])
    runs = [run("gtx_1080.yaml", r["model"], 1024) for r in timed]
    totals = [total_counts(r["network"], counts(r["model"])) for r in timed]
    latency = np.array([got.latency_s for got in runs])
    where = f"{len(timed)} networks, GTX 1080"
    source = "from the numbers of arXiv:1909.00948, table 4"
    note = "shown; a coefficient of a few networks is no figure to judge by"
    for name, theirs, ours in (
        (MACS, np.array([float(r["macs_G"]) for r in timed]), np.array([float(t.macs) for t in totals])),
        (CIO, np.array([float(r["cio_M"]) for r in timed]), np.array([float(t.cio) for t in totals])),
    ):
        yield Row(f"correlation of {LATENCY} with {name}", where, float(np.corrcoef(printed, theirs)[0, 1]),
                  float(np.corrcoef(latency, ours)[0, 1]), "", None, source, note)
    traffic = np.array([got.traffic_bytes for got in runs])
    yield Row(f"correlation of {LATENCY} with {TRAFFIC}", where, None, float(np.corrcoef(latency, traffic)[0, 1]), "",
              None, "simulated", note)
    yield Row(f"correlation of the card's {LATENCY} with simulated {TRAFFIC}", where, None,
              float(np.corrcoef(printed, traffic)[0, 1]), "", None, source, note)


def figure(rows: Sequence[Row]) -> Figure:
    """Latency over MACs and over off-chip traffic, simulated and published."""
    def named(quantity: str) -> dict[str, Row]:
        return {r.where.split(",")[0]: r for r in rows if r.quantity == quantity}

    latency, traffic, macs = named(LATENCY), named(TRAFFIC), named(MACS)
    data: list[dict[str, Any]] = []
    for axis, of in (("", macs), ("2", traffic)):
        for colour, who in (("$0", "accelsim"), ("$1", "published")):
            names = list(latency)
            data.append({
                "type": "scatter", "mode": "markers+text" if who == "accelsim" else "markers", "name": who,
                "legendgroup": who, "showlegend": not axis, "x": [of[n].accelsim for n in names],
                "y": [getattr(latency[n], who) for n in names], "text": names, "textposition": "top center",
                "textfont": {"size": 9}, "marker": {"color": colour, "size": 9}, "xaxis": f"x{axis}",
                "yaxis": f"y{axis}", "hovertemplate": "%{text}<br>%{x:.3g}, %{y:.3g} ms<extra>" + who + "</extra>",
            })  # fmt: skip
    return {
        "data": data,
        "layout": {
            "xaxis": {"title": "multiply-accumulates at 224x224 (G)", "domain": [0, 0.47], "rangemode": "tozero"},
            "xaxis2": {"title": "simulated off-chip traffic at 1024x1024 (GB)", "domain": [0.53, 1],
                       "rangemode": "tozero", "anchor": "y2"},
            "yaxis": {"title": "latency at 1024x1024 (ms)", "rangemode": "tozero"},
            "yaxis2": {"rangemode": "tozero", "anchor": "x2", "matches": "y"},
        },
    }  # fmt: skip
