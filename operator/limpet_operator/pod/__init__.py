"""The operator as a pod of a cluster."""
