"""Simulated sellers: one process each, a real HTTP API in front, prompt caches and bills that follow vendors' rules."""
