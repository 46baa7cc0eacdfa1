"""`python -m labeling_ui --store-url sqlite:///prefloop.db`: this process becomes the server of the labeling UI."""

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

from db import logins
from db.engine import open_store, writing
from db.errors import StoreError
from labeling_ui import launch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m labeling_ui", description="Serve the labeling UI.")
    parser.add_argument(
        "--store-url",
        default=os.environ.get(launch.STORE_URL),
        help=f"sqlite:///file or postgresql://user@host/db; default ${launch.STORE_URL}, which no process list shows",
    )
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--address", default="127.0.0.1", help="to listen at (default %(default)s, this machine only)")
    parser.add_argument("--annotator", default="me", help="who labels where nobody logs in (default %(default)s)")
    parser.add_argument("--auth", choices=get_args(launch.Auth), default="none", help="how people log in")
    parser.add_argument("--behind-proxy", action="store_true", help="believe a proxy that says who comes by https")
    parser.add_argument("--host-name", action="append", default=[], help="a name under which people reach the server")
    parser.add_argument("--secrets", type=Path, help="the TOML file about the OpenID Connect provider")
    options = parser.parse_args()
    if not options.store_url:
        parser.error(f"--store-url is missing; give it, or set {launch.STORE_URL}")
    try:
        argv, environment = launch.command(
            options.store_url, options.port, options.address, options.annotator, auth=options.auth,
            behind_proxy=options.behind_proxy, host_names=options.host_name, secrets=options.secrets,
        )  # fmt: skip
        if options.auth == "password":
            tell_first_secret(options.store_url)
    except (ValueError, StoreError) as refusal:
        parser.error(str(refusal))
    if not launch.is_loopback(options.address):
        print(
            f"warning: {options.address} can be reached without TLS, and passwords travel as they are typed; "
            "better listen at 127.0.0.1 behind a proxy that has it (docs/labeling.md)",
            file=sys.stderr,
        )
    print(f"labeling UI: http://{options.address}:{options.port}", flush=True)
    os.execve(argv[0], argv, {**os.environ, **environment})


def tell_first_secret(store_url: str) -> None:
    """Where no admin can log in yet, say who can now: once, and only here."""
    engine = open_store(store_url)
    with writing(engine) as session:
        secret = logins.first_secret(session)
    engine.dispose()
    if secret:
        print("no admin could log in; now this one can. The password is shown only this once:\n")
        print(f"    name      {logins.FIRST_ADMIN}\n    password  {secret}\n", flush=True)


if __name__ == "__main__":
    main()
