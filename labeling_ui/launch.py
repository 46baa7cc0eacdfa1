"""How the labeling UI is started: one process of its own, for one person on this machine or for people who log in."""

import importlib.util
import ipaddress
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

Auth = Literal["none", "password", "oidc"]

STORE_URL = "PREFLOOP_STORE_URL"
ANNOTATOR = "PREFLOOP_ANNOTATOR"
AUTH = "PREFLOOP_AUTH"
# Of uvicorn: whose X-Forwarded-Proto and X-Forwarded-For are believed. Unset it means this machine's.
_BELIEVED = "FORWARDED_ALLOW_IPS"

_HERE = Path(__file__).resolve().parent
_THEME = {  # both named, so that the browser's own preference decides
    "baseRadius": "small",
    "light.primaryColor": "#2f6d80",
    "light.codeTextColor": "#666666",
    "dark.primaryColor": "#367c92",
    "dark.codeTextColor": "#a6a6a6",
}


def command(
    store_url: str,
    port: int,
    address: str = "127.0.0.1",
    annotator: str = "me",
    *,
    auth: Auth = "none",
    behind_proxy: bool = False,
    host_names: Sequence[str] = (),
    secrets: Path | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The argv of the server, and what to add to its environment: a URL may hold a password, and argv is public.

    `host_names` are those under which others reach the server; `secrets` is the TOML file about the OpenID Connect
    provider. ValueError, with the remedy, where others could come in without a login, or nobody could.
    """
    if auth == "none":
        _refuse_others(address, behind_proxy, host_names)
    elif address in ("0.0.0.0", "::", "") and not host_names:
        raise ValueError(f"address {address!r} has no name of its own: say under which name people come, --host-name")
    if auth == "oidc":
        _require_provider(secrets)
    options = {
        "server.address": address,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "client.toolbarMode": "minimal",
        **{f"theme.{name}": value for name, value in _THEME.items()},
        **({"secrets.files": str(secrets)} if auth == "oidc" else {}),
    }
    argv = [sys.executable, "-m", "streamlit", "run", str(_HERE / "app.py")]
    argv += [f"--{name}={value}" for name, value in options.items()]
    # No other name may point here.
    argv += [f"--server.allowedHosts={host}" for host in ("localhost", "::1", address, *host_names)]
    places = [str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    believed = os.environ.get(_BELIEVED, "127.0.0.1,::1") if behind_proxy else ""
    return argv, {
        STORE_URL: store_url,
        ANNOTATOR: annotator,
        AUTH: auth,
        _BELIEVED: believed,
        "PYTHONPATH": os.pathsep.join(places),
    }


def auth() -> Auth:
    """How this server was started to know people; ValueError for a word that is none of `Auth`."""
    said = os.environ.get(AUTH, "none")
    for known in get_args(Auth):
        if said == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(f"{AUTH}={said}: use {', '.join(get_args(Auth))}")


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False  # a name may point anywhere


def _refuse_others(address: str, behind_proxy: bool, host_names: Sequence[str]) -> None:
    """ValueError where others could reach a server that asks nobody who they are."""
    remedy = "let people log in with --auth password (or oidc)"
    if not is_loopback(address):
        raise ValueError(
            f"address {address} can be reached by others, and nobody has to log in: {remedy}; for yourself alone "
            "use 127.0.0.1, and a tunnel (ssh -L) to label from another machine"
        )
    if behind_proxy or host_names:
        raise ValueError(f"a proxy or a host name is for others, and nobody has to log in: {remedy}")


def _require_provider(secrets: Path | None) -> None:
    """ValueError unless logging in by OpenID Connect can work."""
    if secrets is None or not secrets.is_file():
        there = f"{secrets} is not there" if secrets else "--secrets names none"
        raise ValueError(f"OpenID Connect needs a file about the provider, and {there}; see docs/labeling.md")
    missing = [package for package in ("authlib", "httpx2") if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(f"OpenID Connect needs the package {' and '.join(missing)}: install prefloop[oidc]")
