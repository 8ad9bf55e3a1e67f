"""What a component, a mapper or an importer of another package must do: base classes for its tests.

A package derives a test class from one of these, fills in what to test, and runs it with pytest:

    from accelsim.conformance import ComponentConformance

    class TestMyUnit(ComponentConformance):
        def unit(self): return MyUnit(memory="sram", lanes=8)
        def einsums(self): return [relu(64)]

pytest is needed by nothing else here, and is not imported before a test fails or skips.
"""

from .component import ComponentConformance
from .importer import ImporterConformance
from .mapper import MapperConformance

__all__ = ["ComponentConformance", "ImporterConformance", "MapperConformance"]
