"""Hypothesis profiles: no time limits, and fewer examples with `--hypothesis-profile=fast`."""

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("default"), max_examples=20)
settings.load_profile("default")
