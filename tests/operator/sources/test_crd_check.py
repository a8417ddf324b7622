"""Whether the API server knows our kinds, in this version's shape."""

import copy
from typing import Any

import pytest
from tests.operator.sources.fake_api import FakeApi

from limpet_operator.resources.schema import load_crds
from limpet_operator.sources.crd_check import APPLY, crd_problem, lacking_fields
from limpet_operator.sources.kube_error import ApiError

DISCOVERY = "/apis/limpet.dev/v1alpha1"
OPENAPI = "/openapi/v3/apis/limpet.dev/v1alpha1"
CRDS = load_crds()


def discovery(*kinds: str) -> dict[str, Any]:
    return {"resources": [{"kind": kind, "name": kind.lower() + "s"} for kind in kinds]}


def openapi() -> dict[str, Any]:
    """What an API server publishes once these CRDs are applied."""
    group_version = {"group": "limpet.dev", "version": "v1alpha1"}
    return {
        "components": {
            "schemas": {
                crd["metadata"]["name"]: {
                    **copy.deepcopy(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]),
                    "x-kubernetes-group-version-kind": [group_version | {"kind": crd["spec"]["names"]["kind"]}],
                }
                for crd in CRDS
            }
        }
    }


ALL = discovery("Provider", "Pricing", "HealthProbe", "StickyPolicy")


def provider_spec(document: dict[str, Any]) -> Any:
    return document["components"]["schemas"]["providers.limpet.dev"]["properties"]["spec"]["properties"]


async def problem(**answers: Any) -> str | None:
    return await crd_problem(FakeApi(**answers), CRDS)  # type: ignore[arg-type]


async def test_all_is_well() -> None:
    assert await problem(**{DISCOVERY: ALL, OPENAPI: openapi()}) is None


@pytest.mark.parametrize(
    ("served", "names"),
    [
        (ApiError(404, "no such group"), "healthprobes, pricings, providers, stickypolicies"),
        (discovery("Provider", "Pricing"), "healthprobes, stickypolicies"),
    ],
)
async def test_missing_kinds_are_named_with_the_command_that_helps(served: Any, names: str) -> None:
    full = ", ".join(f"{name}.limpet.dev" for name in names.split(", "))
    assert await problem(**{DISCOVERY: served}) == f"CustomResourceDefinitions are not installed: {full}; run: {APPLY}"


async def test_fields_that_an_older_version_lacks_are_named() -> None:
    older = openapi()
    spec = provider_spec(older)
    del spec["weight"], spec["models"]["items"]["properties"]["upstreamName"], spec["tls"], spec["timeouts"]
    assert await problem(**{DISCOVERY: ALL, OPENAPI: older}) == (
        "CustomResourceDefinitions are of an older version than this operator, fields are missing: "
        f"providers.limpet.dev (spec.models[].upstreamName, spec.tls, spec.timeouts and 1 more); run: {APPLY}"
    )


async def test_a_newer_version_is_fine() -> None:
    newer = openapi()
    provider_spec(newer)["invented"] = {"type": "string"}
    assert await problem(**{DISCOVERY: ALL, OPENAPI: newer}) is None


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_where_the_schema_is_not_told_the_kinds_are_enough(status: int) -> None:
    assert await problem(**{DISCOVERY: ALL, OPENAPI: ApiError(status, "not for you")}) is None


async def test_an_api_server_that_does_not_answer_is_another_matter() -> None:
    with pytest.raises(ApiError, match="away"):
        await problem(**{DISCOVERY: ApiError(None, "away")})


def test_a_schema_lacks_nothing_of_itself() -> None:
    for crd in CRDS:
        schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert list(lacking_fields(schema, schema)) == []
        assert "spec" in list(lacking_fields(schema, {}))
