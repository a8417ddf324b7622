"""HealthProbes at work: when each provider is asked, how it is asked, and what its answers come to."""
