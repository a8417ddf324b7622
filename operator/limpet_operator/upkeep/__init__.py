"""Keeps Istio's objects in a cluster as the Providers want them, while this replica holds the Lease."""
