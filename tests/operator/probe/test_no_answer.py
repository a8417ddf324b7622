"""What Envoy and a worker say when a probe gets no answer. The words are those of Envoy 1.40."""

import pytest

from limpet_extproc.contract.attempt import Cause
from limpet_operator.probe.no_answer import no_answer

_RESET = "upstream_reset_before_response_started"
_TLS = "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:"
_EXPIRED = "_X509_verify_cert:_certificate_verification_error_at_depth_0:_certificate_has_expired:TLS_error_end"


@pytest.mark.parametrize(
    ("failure", "cause", "message"),
    [
        (
            f"UF 10.0.0.1:443 {_RESET}{{remote_connection_failure|{_TLS}{_EXPIRED}}} {_TLS}{_EXPIRED}",
            "TLSFailed",
            "certificate has expired",
        ),
        (f"UF 10.0.0.1:443 {_RESET}{{TLS_error}} -", "TLSFailed", None),
        (
            f"UF 127.0.0.1:9 {_RESET}{{remote_connection_failure|delayed_connect_error:_Connection_refused}} -",
            "ConnectionRefused",
            "127.0.0.1:9 refuses connections",
        ),
        (
            f"UF 127.0.0.1:0 {_RESET}{{remote_connection_failure|delayed_connect_error:_Connection_refused}} -",
            "NameNotResolved",
            "the name api.example has no address",
        ),
        (f"UF 10.0.0.1:443 {_RESET}{{connection_timeout}} -", "ConnectionFailed", "connection timeout"),
        (f"UC 10.0.0.1:443 {_RESET}{{connection_termination}} -", "ConnectionFailed", "connection termination"),
        (
            f"UF envoy://limpet_proxy_p_3128/x:443 {_RESET}{{immediate_connect_error:_Invalid_argument}} -",
            "ConnectionFailed",
            "immediate connect error: Invalid argument",
        ),
        ("UPE 10.0.0.1:443 upstream_reset_before_response_started{protocol_error} -", "ConnectionFailed", None),
        ("UH - no_healthy_upstream -", "Unreachable", "no healthy upstream -"),
        ("UT 10.0.0.1:443 response_timeout -", "Timeout", None),
        (
            "UMSDR 10.0.0.1:443 upstream_max_stream_duration_reached -",
            "Timeout",
            "no complete answer within timeouts.unstreamed of the Provider",
        ),
        ("timeout", "Timeout", "no answer within 5 s"),
        ("head too large", "NotAnAnswer", "the head of its answer is too large"),
    ],
)
def test_what_the_provider_or_its_network_did_is_named(failure: str, cause: Cause, message: str | None) -> None:
    found = no_answer(failure, "api.example", 5.0)
    assert found.cause == cause
    assert message is None or found.message == message


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("NC - cluster_not_found -", "this gateway does not have the provider yet"),
        ("not sent: No such file or directory", "No such file or directory"),
        ("the worker is sending 64 probes already", "the worker is sending 64 probes already"),
        ("- 10.0.0.1:443 lua_response -", None),
        ("UO 10.0.0.1:443 overflow -", None),
        ("", None),
    ],
)
def test_what_did_not_reach_the_provider_says_nothing_of_it(failure: str, message: str | None) -> None:
    found = no_answer(failure, "api.example", 5.0)
    assert found.cause is None
    assert message is None or found.message == message


@pytest.mark.parametrize("piece", ["a", "{", "{a", ":", "a:", "TLS_error", "|a:TLS_error_"])
@pytest.mark.parametrize("after", ["", "TLS_error"])
def test_words_of_any_length_take_no_longer_than_their_beginning(piece: str, after: str) -> None:
    for _ in range(20):
        found = no_answer(f"UF 10.0.0.1:443 {piece * (1_000_000 // len(piece))}{after}", "api.example", 5.0)
        assert found.cause in ("ConnectionFailed", "TLSFailed")
