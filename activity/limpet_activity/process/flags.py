"""The command line of `limpet-activity`: its flags, and which of them exclude or need each other."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Final, NoReturn

from sqlalchemy import URL

from limpet_activity.export.wiring import ExportSettings
from limpet_activity.process.settings import ActivitySettings
from limpet_activity.store.databases import UrlError, parse_url
from limpet_activity.store.retention import KeepLimits
from limpet_activity.web.settings import LOOPBACK_HOSTS, PageSettings
from limpet_extproc.contract.host_port import HostPort

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")

_NO_STORE: Final = "none"
_SMALLEST_MIB: Final = 10
_SHORTEST_TOKEN: Final = 16


def parse(argv: Sequence[str] | None = None) -> ActivitySettings:
    """The settings of this process, by default from its command line. If they are wrong, prints why and exits."""
    parser = _parser()
    flags = parser.parse_args(argv)
    try:
        return ActivitySettings(
            store=_store(flags),
            listen=tuple(_listen(each, flags.tls_dir) for each in flags.listen or ()),
            page=_host_port("--page", flags.page),
            page_settings=_page(flags),
            http=_host_port("--http", flags.http),
            probes=_host_port("--probes", flags.probes),
            tls_dir=flags.tls_dir,
            gateway_name=_gateway_name(flags),
            limits=KeepLimits(_days(flags.retention_days), _size(flags.max_size_mib)),
            exports=ExportSettings(flags.json_lines, version("limpet")),
            log_level=flags.log_level,
            log_format=flags.log_format,
        )
    except (_FlagError, UrlError) as error:
        _refuse(parser, str(error))


class _FlagError(ValueError):
    """What is wrong with the flags, and what to do."""


def _refuse(parser: argparse.ArgumentParser, why: str) -> NoReturn:
    parser.error(why)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="limpet-activity", description="Keeps what every request did and cost, and shows it."
    )
    parser.add_argument("--store", help="sqlite:///FILE, postgresql://USER@HOST/DATABASE, or none: in memory alone")
    parser.add_argument("--store-url-file", type=Path, help="the same in a file, as it may hold a password")
    parser.add_argument(
        "--store-ca-file", type=Path, help="PostgreSQL has to show a certificate of this authority for its host"
    )
    parser.add_argument(
        "--listen",
        action="append",
        help="unix:PATH or HOST:PORT, where workers hand records over; several may be given",
    )
    parser.add_argument("--http", help="HOST:PORT for /livez, /readyz and /metrics")
    parser.add_argument("--probes", help="another HOST:PORT for /livez and /readyz, which only the kubelet may reach")
    parser.add_argument(
        "--tls-dir", type=Path, help="speak mutual TLS to workers over TCP, with tls.crt, tls.key and ca.crt in here"
    )
    parser.add_argument("--gateway-name", help="with --tls-dir: the DNS name that the certificates of workers carry")
    parser.add_argument("--retention-days", type=float, default=30.0, help="how long records are kept (default: 30)")
    parser.add_argument(
        "--max-size-mib", type=int, help="of the store; the oldest records go first (default: as much as there is room)"
    )
    parser.add_argument("--json-lines", default="", help="write each record as a line of JSON to this file; -: stdout")
    _add_page(parser)
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default: info)")
    parser.add_argument("--log-format", choices=LOG_FORMATS, default="text", help="(default: text)")
    return parser


def _add_page(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--page", help="HOST:PORT of the activity page")
    parser.add_argument("--page-token-file", type=Path, help="what signs in to the page, in a file")
    parser.add_argument(
        "--page-host",
        action="append",
        help="a name by which the page may be called; several may be given (default: any)",
    )
    parser.add_argument(
        "--trusted-user-header", default="", help="where a proxy before the page names whom it has signed in"
    )


def _store(flags: argparse.Namespace) -> URL | None:
    if (flags.store is None) == (flags.store_url_file is None):
        raise _FlagError("give one of --store and --store-url-file; --store none keeps records in memory alone")
    text = flags.store
    if flags.store_url_file is not None:
        text = _text(flags.store_url_file, "--store-url-file")
    if text == _NO_STORE:
        return None
    try:
        return parse_url(text, flags.store_ca_file)
    except UrlError as error:
        raise _FlagError(f"{'--store' if flags.store else '--store-url-file'}: {error}") from error


def _listen(text: str, tls_dir: Path | None) -> str:
    if text.startswith("unix:"):
        return text
    place = _host_port("--listen", text)
    assert place is not None
    if tls_dir is None and not _nearby(place.host):
        raise _FlagError(
            f"--listen {text}: not without TLS, anyone could hand records over: name certificates with --tls-dir, "
            "or listen on 127.0.0.1 or unix:PATH"
        )
    return text


def _nearby(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_port(flag: str, text: str | None) -> HostPort | None:
    place = HostPort.parse(text) if text else None
    if text and place is None:
        raise _FlagError(f"{flag} {text}: not HOST:PORT, such as 127.0.0.1:9320 or [::]:9320")
    return place


def _gateway_name(flags: argparse.Namespace) -> str:
    if (flags.tls_dir is None) != (flags.gateway_name is None):
        raise _FlagError("--tls-dir and --gateway-name go together: who has a certificate is not yet a gateway")
    return flags.gateway_name or ""


def _days(days: float) -> float:
    if not 0 < days <= 3660:
        raise _FlagError(f"--retention-days {days:g}: more than 0, and at most 3660")
    return days


def _size(mib: int | None) -> int | None:
    if mib is None:
        return None
    if mib < _SMALLEST_MIB:
        raise _FlagError(f"--max-size-mib {mib}: at least {_SMALLEST_MIB}")
    return mib * 2**20


def _page(flags: argparse.Namespace) -> PageSettings | None:
    if not flags.page:
        return None
    if flags.page_token_file is None:
        raise _FlagError("--page without --page-token-file: anyone who reaches the page would see what is asked")
    token = _text(flags.page_token_file, "--page-token-file")
    if len(token) < _SHORTEST_TOKEN:
        raise _FlagError(f"--page-token-file {flags.page_token_file}: a token of at least {_SHORTEST_TOKEN} characters")
    place = _host_port("--page", flags.page)
    assert place is not None
    hosts = frozenset(flags.page_host or ())
    if not hosts and _nearby(place.host):
        hosts = LOOPBACK_HOSTS
    return PageSettings(token, hosts, flags.trusted_user_header)


def _text(file: Path, flag: str) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _FlagError(f"{flag} {file} cannot be read: {error}") from error
