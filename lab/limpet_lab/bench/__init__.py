"""Benchmarks: figures are printed by a run, never hoped for."""
