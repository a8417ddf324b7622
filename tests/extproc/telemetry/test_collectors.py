"""The counters and histograms of the path of a request show what those of the client library would show."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter, Histogram, generate_latest

from limpet_extproc.contract.registry import Registry
from limpet_extproc.telemetry.collectors import Count, Spread

_BOUNDS = (0.05, 0.1, 1.0, 20.0)
_NAMES = st.sampled_from(["alpha", "beta", 'with "quotes"\n'])
_VALUES = st.sampled_from([0.0, *_BOUNDS, 700.0]) | st.floats(0, 1e6)


@given(st.lists(st.tuples(_VALUES, _NAMES, _NAMES)))
def test_a_page_is_that_of_the_client_library(noted: list[tuple[float, str, str]]) -> None:
    ours, theirs = Registry(), Registry()
    labels = ["provider", "model"]
    count, counter = Count("seen", "How many.", labels, ours), Counter("seen", "How many.", labels, registry=theirs)
    spread = Spread("took_seconds", "How long.", labels, _BOUNDS, ours)
    histogram = Histogram("took_seconds", "How long.", labels, registry=theirs, buckets=_BOUNDS)
    one = Spread("one_seconds", "How long.", (), _BOUNDS, ours)
    of_one = Histogram("one_seconds", "How long.", registry=theirs, buckets=_BOUNDS)
    for value, provider, model in noted:
        count.add(value, provider, model)
        counter.labels(provider, model).inc(value)
        spread.add(value, provider, model)
        histogram.labels(provider, model).observe(value)
        one.add(value)
        of_one.observe(value)
    assert generate_latest(ours) == generate_latest(theirs)
