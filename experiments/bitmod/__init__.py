"""Bit-serial arrays with mixed-datatype weights, against BitMoD's simulator."""
