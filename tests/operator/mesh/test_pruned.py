"""Which fields an older CRD did not know."""

from limpet_operator.mesh.pruned import pruned


def test_only_what_was_written_and_is_gone_is_named() -> None:
    written = {"spec": {"a": 1, "b": {"c": [{"d": 1, "e": 2}, {"d": 3}]}, "f": {"g": 1}}, "metadata": {"x": 1}}
    stored = {"spec": {"a": 1, "b": {"c": [{"d": 1}]}, "added": True}, "metadata": {}}
    assert pruned(written, stored) == ("spec.b.c[0].e", "spec.b.c[1]", "spec.f")
    assert pruned(written, written) == ()
    assert pruned(written, {}) == ("spec.a", "spec.b", "spec.f")
