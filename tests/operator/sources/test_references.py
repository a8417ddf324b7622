"""What Providers refer to, and what is planned while that is still unknown."""

from typing import Any

from tests.operator.conftest import Build

from limpet_operator.resources.objects import Objects
from limpet_operator.sources.references import references, without_unknown


def test_only_what_providers_name_is_looked_at_and_only_in_their_namespace(build: Build) -> None:
    raws = [
        build.raw("Provider", "a", "ai"),
        build.raw("Provider", "b", tls={"caCertificateRef": {"name": "corp", "key": "ca.crt"}}, credential=None),
        build.raw("Provider", "c", credential={"env": "KEY"}),
        build.raw("Pricing"),
        build.secret("unreferenced"),
    ]
    assert references(build.objects(*raws)) == {
        build.key("Secret", "deepseek", "ai"),
        build.key("ConfigMap", "corp"),
    }


def _objects(build: Build, key: str, *more: Any) -> Objects:
    return build.objects(build.raw("Provider", "a", credential={"secretRef": {"name": key, "key": "api-key"}}), *more)


def test_a_new_provider_waits_for_its_secret_alone(build: Build) -> None:
    unknown = {build.key("Secret", "s")}
    objects = _objects(build, "s", build.raw("Provider", "b"), build.secret())
    shown = without_unknown(objects, Objects(), unknown)
    assert shown.parsed.keys() == {build.key("Provider", "b"), build.key("Secret")}
    assert without_unknown(objects, Objects(), frozenset()) is objects


def test_a_provider_that_names_another_secret_stays_as_it_was_until_that_is_known(build: Build) -> None:
    before = _objects(build, "old", build.secret("old"))
    # The old Secret is dropped as soon as no Provider names it.
    shown = without_unknown(_objects(build, "new"), before, {build.key("Secret", "new")})
    assert shown.parsed == before.parsed


def test_while_only_new_providers_wait_there_is_nothing_new_to_plan(build: Build) -> None:
    before = build.objects(build.raw("Pricing"), build.secret())
    now = Objects({**before.parsed, **_objects(build, "s").parsed}, before.invalid)
    assert without_unknown(now, before, {build.key("Secret", "s")}) is before
