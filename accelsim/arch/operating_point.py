"""Operating points: what another supply voltage and clock make of energies and leakage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatingPoint:
    """The supply voltage that a machine runs at, beside the nominal point for which its energies are stated.

    Off-chip memories, and the units that work inside them, have a supply of their own and are not scaled; nor are links
    to them. A component with a clock of its own keeps it. No curve of the highest clock over voltage is assumed: the
    machine file states both.

    Attributes:
        voltage: volts it runs at.
        nominal_voltage: volts at which energies and leakage hold.
        nominal_clock: hertz of the machine's clock there.
    """

    voltage: float
    nominal_voltage: float
    nominal_clock: float

    @property
    def dynamic_scale(self) -> float:
        """Energy of an action over its nominal energy, (V / Vn)²: a switched capacitance takes C·V².

        Source: Weste and Harris, "CMOS VLSI Design", 4th edition, chapter 5.
        """
        return (self.voltage / self.nominal_voltage) ** 2

    @property
    def leakage_scale(self) -> float:
        """Leakage power over its nominal power, V / Vn: the current is taken as constant, P = V · I.

        An approximation (Butts and Sohi, "A Static Power Model for Architects", MICRO 2000). The current
        itself falls with the voltage (drain-induced barrier lowering), so that below the nominal voltage this is too
        high and above it too low.
        """
        return self.voltage / self.nominal_voltage
