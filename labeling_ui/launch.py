"""How the labeling UI is started: one process of its own, for one person, on this machine only."""

import ipaddress
import os
import sys
from pathlib import Path

STORE_URL = "PREFLOOP_STORE_URL"
ANNOTATOR = "PREFLOOP_ANNOTATOR"

_HERE = Path(__file__).resolve().parent
_THEME = {  # both named, so that the browser's own preference decides
    "baseRadius": "small",
    "light.primaryColor": "#2f6d80",
    "light.codeTextColor": "#666666",
    "dark.primaryColor": "#3f8ca3",
    "dark.codeTextColor": "#a6a6a6",
}


def command(
    store_url: str, port: int, address: str = "127.0.0.1", annotator: str = "me"
) -> tuple[list[str], dict[str, str]]:
    """The argv of the server, and what to add to its environment: a URL may hold a password, and argv is public.

    ValueError for an address that others could reach.
    """
    if not _is_loopback(address):
        raise ValueError(
            f"address {address} can be reached by others, and there is no login yet: use 127.0.0.1, "
            "and a tunnel (ssh -L) to label from another machine"
        )
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
    }
    argv = [sys.executable, "-m", "streamlit", "run", str(_HERE / "app.py")]
    argv += [f"--{name}={value}" for name, value in options.items()]
    argv += [f"--server.allowedHosts={host}" for host in ("localhost", "::1", address)]  # no other name may point here
    places = [str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return argv, {STORE_URL: store_url, ANNOTATOR: annotator, "PYTHONPATH": os.pathsep.join(places)}


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False  # a name may point anywhere
