"""Simulated providers with real cache rules and bills, and the demo and benchmarks that run on them."""
