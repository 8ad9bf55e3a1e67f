"""Published systems: one folder each, with specs, a reference table and the runs that give its rows."""
