"""What a simulated seller is: its address, key, models, prices and pace, as users write them in a file.

Words and shapes follow the project's resources: camelCase, prices as decimal strings in US dollars per million tokens.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import yaml

from limpet_lab.sim.prices import PriceList
from limpet_lab.sim.prompt import Ruler
from limpet_lab.sim.rules import Auth, UnknownVendorError, VendorRules, rules_for


class ConfigError(Exception):
    """The file can't be used; the message explains where and what to do."""


class SellerModel(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A model by the seller's own name for it."""

    name: str
    prices: PriceList | None = None
    """None: the seller's `prices`."""


class Pace(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How fast the seller answers, in milliseconds; warm prompts start sooner."""

    first_byte_ms: float = 2.0
    uncached_ms_per_thousand: float = 1.0
    chunk_ms: float = 0.5


class Certificate(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a seller shows over TLS, both as PEM."""

    chain: str
    key: str


class SellerConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One simulated seller."""

    name: str
    models: tuple[SellerModel, ...]
    vendor: str = "DeepSeek"
    listen: str = "127.0.0.1:0"
    """Port 0: any free one."""
    prefix: str = "/v1"
    api_keys: tuple[str, ...] = ()
    """Accounts. None: the seller asks for no key."""
    credential: Auth | None = None
    """None: where the vendor expects its key."""
    prices: PriceList | None = None
    """None: unknown; the ledger then shows no dollars."""
    cache: dict[str, object] | None = None
    """Numbers to lay over the vendor's cache rules, same words as in `data/vendors.yaml`."""
    report_cached: bool | None = None
    """None: as the vendor does by default."""
    strict: bool = True
    """Refuse top-level request fields the vendor doesn't know."""
    record: bool = False
    """Keep the last raw requests for `GET /_sim/requests`."""
    pace: Pace = Pace()
    output_tokens: tuple[int, int] = (40, 60)
    """Length of an answer that `max_tokens` doesn't cut, from and to."""
    tokens: Ruler = Ruler()
    max_body_bytes: int = 64 * 1024 * 1024
    tls: Certificate | None = None
    """None: plain HTTP."""

    def __post_init__(self) -> None:
        """Refuse what can't be served."""
        if not self.models:
            raise ValueError("models is empty: name at least one")
        if not self.name:
            raise ValueError("name is empty")
        low, high = self.output_tokens
        if not 1 <= low <= high:
            raise ValueError("outputTokens must be [from, to] with 1 <= from <= to")
        self.address()

    def address(self) -> tuple[str, int]:
        """Host and port. Raises ValueError when `listen` is not HOST:PORT."""
        host, colon, port = self.listen.rpartition(":")
        if not (colon and host and port.isdecimal() and int(port) < 65536):
            raise ValueError(
                f"listen is {self.listen!r}: write HOST:PORT, for example 127.0.0.1:19101 (port 0: any free one)"
            )
        return host, int(port)

    @property
    def base(self) -> str:
        """What comes before the path of an API."""
        return self.prefix.rstrip("/")

    def rules(self) -> VendorRules:
        """The vendor's rules as this seller follows them. Raises ConfigError."""
        try:
            return rules_for(self.vendor, self.cache)
        except UnknownVendorError as error:
            raise ConfigError(f"seller {self.name}: {error}") from error
        except msgspec.ValidationError as error:
            raise ConfigError(f"seller {self.name}: cache: {error}") from error

    def prices_of(self, model: str) -> PriceList | None:
        """What the seller charges for one of its models."""
        return next((m.prices for m in self.models if m.name == model and m.prices), self.prices)


def load_sellers(file: Path, environment: Mapping[str, str]) -> tuple[SellerConfig, ...]:
    """Read the sellers of a file; `apiKeyEnv` is looked up in `environment`. Raises ConfigError."""
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}: name a YAML file with a list `sellers`") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML: {error}") from error
    if any(isinstance(each, dict) and {"apiVersion", "kind"} <= each.keys() for each in documents):
        raise ConfigError(
            f"{file}: these are objects for 'limpet up'; a simulation takes a YAML file with a list `sellers`"
        )
    document = documents[0] if len(documents) == 1 else None
    entries = document.get("sellers") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(
            f"{file}: no list `sellers`: write at least one, each with name, vendor, listen, apiKey and models"
        )
    sellers = tuple(_seller(f"{file}: sellers[{index}]", entry, environment) for index, entry in enumerate(entries))
    _refuse_twins(file, sellers)
    return sellers


def _seller(where: str, entry: object, environment: Mapping[str, str]) -> SellerConfig:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: must be a mapping with name, vendor, listen, apiKey and models")
    fields = dict(entry)
    keys = list(fields.pop("apiKeys", ()) or ())
    if "apiKey" in fields:
        keys.insert(0, fields.pop("apiKey"))
    if "apiKeyEnv" in fields:
        name = fields.pop("apiKeyEnv")
        if name not in environment:
            raise ConfigError(f"{where}.apiKeyEnv: the environment has no {name}: set it, or write apiKey")
        keys.insert(0, environment[name])
    try:
        seller = msgspec.convert({**fields, "apiKeys": keys}, SellerConfig)
        seller.rules()
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return seller


def _refuse_twins(file: Path, sellers: tuple[SellerConfig, ...]) -> None:
    names = [seller.name for seller in sellers]
    ports = [seller.listen for seller in sellers if seller.address()[1]]
    for what, values in (("name", names), ("listen", ports)):
        twins = sorted({value for value in values if values.count(value) > 1})
        if twins:
            raise ConfigError(f"{file}: two sellers have the {what} {twins[0]}: give each its own")
