"""How many conversations a sketch of a prompt cache stands for (`catalog.CacheUse.warm`). Pure."""

from math import log
from typing import Final

from limpet_extproc.contract.catalog import SKETCH_REGISTERS

_FEW: Final = 2.5 * SKETCH_REGISTERS
"""Below this estimate, counting empty registers is more exact."""
_BIAS: Final = 0.7213 / (1 + 1.079 / SKETCH_REGISTERS)


def warm_conversations(sketch: bytes) -> int:
    """About how many are warm; two digits from a hundred on, as the sketch is no more exact than that.

    The estimate of HyperLogLog, by Flajolet and others, 2007.
    """
    if not sketch:
        return 0
    estimate = _BIAS * SKETCH_REGISTERS**2 / sum(2.0**-rank for rank in sketch)
    empty = sketch.count(0)
    if empty and estimate <= _FEW:
        estimate = SKETCH_REGISTERS * log(SKETCH_REGISTERS / empty)
    return round(estimate) if estimate < 100 else int(float(f"{estimate:.2g}"))
