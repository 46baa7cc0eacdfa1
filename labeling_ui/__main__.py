"""`python -m labeling_ui --store-url sqlite:///prefloop.db`: this process becomes the server of the labeling UI."""

import argparse
import os

from labeling_ui import launch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m labeling_ui", description="Serve the labeling UI on this machine.")
    parser.add_argument("--store-url", required=True, help="sqlite:///file or postgresql://user@host/db")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--address", default="127.0.0.1", help="a loopback address (default %(default)s)")
    parser.add_argument("--annotator", default="me", help="who labels unless they say otherwise (default %(default)s)")
    options = parser.parse_args()
    try:
        argv, environment = launch.command(options.store_url, options.port, options.address, options.annotator)
    except ValueError as refusal:
        parser.error(str(refusal))
    print(f"labeling UI: http://{options.address}:{options.port}", flush=True)
    os.execve(argv[0], argv, {**os.environ, **environment})


if __name__ == "__main__":
    main()
