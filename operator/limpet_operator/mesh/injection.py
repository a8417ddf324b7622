"""What a namespace's labels say of how a mesh carries its pods' requests."""

from collections.abc import Mapping


def injection_note(namespace: str, labels: Mapping[str, str], *, filters: bool) -> str | None:
    """What keeps objects of the mesh from counting there; None: nothing that labels show.

    `filters`: whether EnvoyFilters are among them.
    """
    if labels.get("istio.io/dataplane-mode") == "ambient":
        lost = "VirtualServices count there at a waypoint alone" + (", and EnvoyFilters nowhere" if filters else "")
        return f"namespace {namespace} is in ambient mode: {lost}"
    if labels.get("istio-injection") == "disabled":
        return f"namespace {namespace} gets no sidecars (istio-injection=disabled): its pods' requests go on as before"
    if labels.get("istio-injection") == "enabled" or labels.get("istio.io/rev"):
        return None
    return (
        f"namespace {namespace} has neither istio-injection=enabled nor istio.io/rev: only pods that ask for a sidecar "
        "themselves have one, and the requests of all others go on as before"
    )
