"""Where the three sellers of `examples/quickstart` are found, in a checkout and in an installed package."""

from pathlib import Path
from typing import Final

import msgspec

import limpet_lab
from limpet_lab.sim.config import ConfigError, SellerConfig, load_sellers

MODEL: Final = "deepseek/deepseek-v4-flash"
"""What clients of the quickstart ask for; each seller has its own name for it."""


def quickstart_sellers() -> tuple[SellerConfig, ...]:
    """The three sellers, each on a free port. Raises ConfigError when the file is missing or wrong."""
    package = Path(limpet_lab.__file__).resolve().parent
    places = (package / "quickstart", package.parents[1] / "examples" / "quickstart")
    file = next((place / "sellers.yaml" for place in places if (place / "sellers.yaml").is_file()), None)
    if file is None:
        raise ConfigError(
            f"sellers.yaml is neither in {places[0]} nor in {places[1]}: install the package 'limpet' again, "
            "or run this from a complete checkout"
        )
    return tuple(msgspec.structs.replace(each, listen="127.0.0.1:0") for each in load_sellers(file, {}))
