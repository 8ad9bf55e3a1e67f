"""Networks of the experiment that no file of the zoo has, from their published shapes, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ....ir import Workload
from .cells import amoebanet_d, darts, nasnet_a, pnasnet_5
from .segmentation import deeplabv3, fcn, lraspp
from .transformer import transformer
from .video import r2plus1d_18, s3d

BUILDERS: Mapping[str, Callable[[], Workload]] = {
    built.__name__: built
    for built in (
        amoebanet_d, darts, deeplabv3, fcn, lraspp, nasnet_a, pnasnet_5, r2plus1d_18, s3d, transformer
    )
}  # fmt: skip
