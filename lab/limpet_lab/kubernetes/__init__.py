"""A real Kubernetes API server on one machine, for tests and benchmarks."""
