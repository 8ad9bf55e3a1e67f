"""DRAM with channels, bank groups, banks, rows and refresh, from a preset or from its own times."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from ..arch.component import Direction, Price
from ..arch.energy import Figure
from ..arch.units import Bandwidth, Bytes
from ..engine.program import Server
from ..errors import BadInput
from .dram import DramBase
from .dram_step import server
from .dram_timing import DEFAULT_MAPPING, AddressMapping, DramDevice, preset


class BankedDram(DramBase):
    """A DRAM of `dram_timing`: transfers cost what their addresses and the open rows make them (see `dram_step`).

    Capacity, bandwidth and latency (CL) follow from the preset and the channels. `timing` changes single times or sizes
    of the preset (cycles of its clock). Energy is per byte: bursts, and the activations of rows that are used whole.
    """

    kind: Literal["banked_dram"] = "banked_dram"
    preset: Annotated[str, Field(description="A DRAM preset, such as DDR4_3200W or HBM3_6400Mbps.")]
    channels: Annotated[int, Field(ge=1, le=4096, description="Channels.")] = 1
    mapping: Annotated[
        str, Field(description="Address mapping from the highest field to the lowest: ro ba co bg pc ch.")
    ] = DEFAULT_MAPPING
    timing: Annotated[
        Mapping[str, int], Field(description="Times (cycles) or sizes that differ from the preset: {tRFC: 560}.")
    ] = Field(default_factory=dict)
    queue: Annotated[int, Field(ge=1, le=4096, description="Bursts that a pseudo-channel looks ahead.")] = 32
    refresh: Annotated[bool, Field(description="Whether it refreshes.")] = True
    capacity: Annotated[Bytes, Field(description="Bytes it holds; no more than the device has.")] = 0
    bandwidth: Annotated[Bandwidth | None, Field(description="Follows from the preset: leave it out.")] = None
    _device: DramDevice | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _sizes(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "preset" not in values:
            return values
        try:
            device = _device(values)
        except BadInput as error:
            raise ValueError(str(error)) from None
        whole = {"capacity": f"{device.capacity} B", "bandwidth": f"{device.peak_bandwidth!r} B/s",
                 "latency": f"{device.timing.CL * device.clock_s * 1e9:.9g} ns"}  # fmt: skip
        return {**values, **{k: v for k, v in whole.items() if values.get(k) is None}}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        device = self.device
        if self.capacity > device.capacity:
            raise ValueError(f"capacity of {self.capacity} bytes is more than the {device.capacity} of {self.channels} "
                             f"channels of {self.preset}")  # fmt: skip
        try:
            AddressMapping(self.mapping, device)
        except BadInput as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def device(self) -> DramDevice:
        """The channels as a device."""
        if self._device is None:
            self._device = _device(self.__dict__)
        return self._device

    def prices(self) -> Mapping[str, Price]:
        device = self.device
        per = device.energies()
        opened = per["activate"] / device.row_bytes
        source = f"{device.name}: {'currents' if device.currents else 'energy per bit'} of its preset, rows used whole"
        return {
            "read": Price("read_energy", self.read_energy, Figure(per["read"] / device.burst_bytes + opened, source)),
            "write": Price(
                "write_energy", self.write_energy, Figure(per["write"] / device.burst_bytes + opened, source)
            ),
        }

    def server(self, direction: Direction, tick_hz: Fraction, *, streams: bool = False) -> Server:
        """The channels as one stateful server; see `dram_step.step`."""
        return server(self.name, self.device, self.mapping, tick_hz, queue=self.queue, streams=streams,
                      refresh=self.refresh)  # fmt: skip


def _device(values: Mapping[str, Any]) -> DramDevice:
    changes = dict(values.get("timing") or {})
    return preset(str(values["preset"])).with_(channels=int(values.get("channels", 1)), **changes)
