"""What `limpet mesh istio` prints for the Providers of a stage, applied and taken back as they change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.mesh.mesh import Mesh
from tests.mesh.story import MeshStage, Town

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.provider import Provider

MADE_UP: Final = "llm.internal"
"""A host that exists nowhere but in the mesh."""


@dataclass(slots=True)
class Egress:
    """The objects in force."""

    town: Town
    parser: Parser
    written: dict[tuple[str, str, str], IstioObject] = field(default_factory=dict)

    @property
    def mesh(self) -> Mesh:
        """The mesh."""
        return self.town.mesh

    async def bring(
        self, stage: MeshStage, sellers: Sequence[str], specs: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Have the requests for these sellers' hosts, and for MADE_UP, brought to the gateway, and no others."""
        written = stage.objects(sellers, specs or {}, {})
        parsed = [self.parser.parse(each) for each in written if each["kind"] == "Provider"]
        providers = [each for each in parsed if isinstance(each, Provider)]
        assert len(providers) == len(sellers), parsed
        gateway = MeshGateway(self.town.pod.namespace)
        assert gateway.host == self.town.host
        wanted = {each.key: each for each in egress_objects(providers, [MADE_UP], gateway).objects}
        changed = [each.body() for key, each in wanted.items() if self.written.get(key) != each]
        gone = [each.body() for key, each in self.written.items() if key not in wanted]
        if changed:
            await self.mesh.apply(*changed)
        if gone:
            await self.mesh.delete(*gone)
        self.written = wanted
        self.mesh.name(MADE_UP)
