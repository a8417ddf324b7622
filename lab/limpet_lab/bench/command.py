"""`limpet bench`: one command for each benchmark."""

import typer

from limpet_lab.bench.activity import activity
from limpet_lab.bench.activity_away import activity_away
from limpet_lab.bench.apply import apply
from limpet_lab.bench.bodies import bodies
from limpet_lab.bench.exchange import exchange
from limpet_lab.bench.faults.command import faults
from limpet_lab.bench.features import features
from limpet_lab.bench.growth import growth
from limpet_lab.bench.infron import infron
from limpet_lab.bench.latency import latency
from limpet_lab.bench.memory import memory
from limpet_lab.bench.mesh import mesh
from limpet_lab.bench.mesh_apply import mesh_apply
from limpet_lab.bench.outcomes import outcomes
from limpet_lab.bench.reload import reload
from limpet_lab.bench.translation import translation
from limpet_lab.replay.command import replay

bench = typer.Typer(no_args_is_help=True, help="Measure: does stickiness pay, and what does the gateway cost in time?")
for each in (
    activity,
    activity_away,
    apply,
    bodies,
    exchange,
    faults,
    features,
    growth,
    infron,
    latency,
    memory,
    mesh,
    mesh_apply,
    outcomes,
    reload,
    replay,
    translation,
):
    bench.command()(each)
