"""The gateway on one machine, without a cluster."""
