"""SCALE-Sim's bandwidth mode CALC."""
