"""Hosts that people name: what is taken, and what is said of the rest."""

import re

import pytest

from limpet_operator.mesh.hosts import in_cluster, parse_host


@pytest.mark.parametrize(
    ("text", "host"),
    [("llm.internal", "llm.internal"), ("LLM.Internal.", "llm.internal"), ("api.openai.com.", "api.openai.com")],
)
def test_what_means_the_same_is_the_same(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("*.internal", "is a pattern; name each host"),
        ("*", "is a pattern"),
        ("10.0.0.1", "is an address; name a host"),
        ("[::1]", "is an address"),
        ("http://llm.internal", "is not a host name; write the name alone, such as llm.internal"),
        ("llm.internal:80", "is not a host name; write the name alone"),
        ("llm_internal", "is not a host name"),
        ("", "an empty text is not a host name; write one such as llm.internal"),
        ("a..b", "is not a host name"),
        ("a" * 64, "is not a host name"),
    ],
)
def test_what_is_no_host_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_host(text)


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("vllm", "vllm.limpet.svc.cluster.local"),
        ("vllm.models.svc", "vllm.models.svc.cluster.local"),
        ("vllm.models.svc.cluster.local", "vllm.models.svc.cluster.local"),
        ("vllm.models", None),
        ("api.openai.com", None),
        ("10.0.0.1", None),
        ("fd00::1", None),
    ],
)
def test_services_of_the_cluster_are_told_from_hosts_outside(host: str, service: str | None) -> None:
    assert in_cluster(host, "limpet", "cluster.local") == service
