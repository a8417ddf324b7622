"""Names of clusters by template, for Envoys that are not ours."""

import logging
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.envoy.cluster_names import UNUSABLE, cluster_names, names_asked_for
from limpet_extproc.envoy.h2_frames import Request

ISTIO = "outbound|80||{name}.{namespace}.providers.limpet.internal"


@pytest.mark.parametrize(
    ("template", "provider", "cluster"),
    [
        (ISTIO, "deepseek", "outbound|80||deepseek.default.providers.limpet.internal"),
        (ISTIO, "team/deepseek", "outbound|80||deepseek.team.providers.limpet.internal"),
        ("{namespace}/{name}", "team/v1.deepseek", "team/v1.deepseek"),
        ("{{{name}-{namespace}}}", "a", "{a-default}"),
    ],
)
def test_a_template_is_filled(template: str, provider: str, cluster: str) -> None:
    assert cluster_names(template).of(provider) == cluster


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("outbound|80||{name}", "lacks {namespace}"),
        ("outbound|80||a.b", "lacks {name}"),
        ("", "lacks {name}"),
        ("{name}.{namespace}.{port}", "not {port}"),
        ("{name}.{namespace}.{}", "not {}"),
        ("{name}.{namespace.__class__}", "not {namespace.__class__}"),
        ("{name}.{namespace[0]}", "not {namespace[0]}"),
        ("{name:9999999}.{namespace}", "no format"),
        ("{name!r}.{namespace}", "no conversion"),
        ("{name}{namespace}", "nothing stands between"),
        ("{name}.{namespace}.{", "Single '{'"),
        ("{name}.{namespace}.é", "ASCII"),
        ("{name}.{namespace}\n", "ASCII"),
    ],
)
def test_what_cannot_be_used_is_explained(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        cluster_names(template)
    assert why in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_template_or_is_refused(template: str) -> None:
    try:
        names = cluster_names(template)
    except ValueError:
        return
    assert "name-7" in names.of("ns-7/name-7")


_LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=4)
_NAME = st.lists(_LABEL, min_size=1, max_size=3).map(".".join)
_QUALIFIED = st.tuples(_LABEL.filter(lambda label: label != "default"), _NAME).map("/".join) | _NAME


@given(_QUALIFIED, _QUALIFIED)
def test_no_two_providers_have_one_cluster(one: str, other: str) -> None:
    """A name may have dots, a namespace has none."""
    names = cluster_names(ISTIO)
    assert (names.of(one) == names.of(other)) == (one == other)


def asking(**metadata: str) -> Request:
    return Request("/", frozenset((name.replace("_", "-"), value) for name, value in metadata.items()))


def test_a_call_asks_by_its_metadata_and_a_bad_template_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    assert names_asked_for(asking(content_type="application/grpc")) is None
    assert names_asked_for(asking(x_limpet_cluster_names=ISTIO)) == cluster_names(ISTIO)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert names_asked_for(asking(x_limpet_cluster_names="only-{name}")) is UNUSABLE
    (record,) = caplog.records
    assert "'only-{name}'" in record.getMessage()
    assert "not decided" in record.getMessage()
