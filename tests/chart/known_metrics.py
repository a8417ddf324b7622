"""Every name that a query may ask one of our pages for."""

import functools

from tests.operator.serve.test_metrics import planes


@functools.cache
def known_metrics() -> set[str]:
    """Those of all planes. A histogram has three."""
    found: set[str] = set()
    for shown in (each for plane in planes().values() for each in plane):
        ends = ("_bucket", "_sum", "_count") if shown.type == "histogram" else ("",)
        found.update(shown.name + end for end in ends)
    return found
