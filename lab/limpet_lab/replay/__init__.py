"""Traces of requests, replayed on a virtual clock over simulated providers: what each set of rules would pay."""
