"""What the access log is told of a refusal, and what is read of it again."""

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.extproc.envoy.log_world import as_read, entry

from limpet_extproc.dialects.port import Refusal
from limpet_extproc.envoy.log_entry import reason_of, refused_for
from limpet_extproc.envoy.responses import refused


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal(429, "refused.over_key_limit", "", model="pro", client="ci", limit="usdPerDay"), "usdPerDay pro ci"),
        (Refusal(403, "refused.model_not_allowed", "", "model", model="pro:1", client="ci"), "model pro?1 ci"),
        (Refusal(403, "refused.model_not_allowed", "", client="ci"), "  ci"),
        (Refusal(404, "refused.unknown_model", "", "model", model="x y"), "model x?y "),
        (Refusal(404, "refused.object_gone", "", "id"), "id  "),
        (Refusal(401, "refused.unauthorized", ""), "  "),
    ],
)
def test_what_is_told_of_a_refusal_is_read_again(refusal: Refusal, told: str) -> None:
    response = pb.ProcessingResponse.FromString(refused(refusal, b"{}"))
    logged = as_read(entry(record=None, provider="", usage=None, details=response.immediate_response.details))
    assert reason_of(logged, {}, None) == refusal.reason
    assert " ".join(refused_for(logged)) == told
