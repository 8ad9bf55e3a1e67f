"""The Eyeriss chip, against its measurements."""
