"""Serve a finished run: a page to search by looking, and a JSON API.

    .venv/bin/python eval/serve.py --features runs/demo/features \\
        --net .venv/bin/python python/embed.py --run runs/demo --images-of runs/demo/features

`make serve RUN=demo` calls it so. Without --net it answers for the run's own images only.
"""

import argparse
import errno
import os
import socket
from pathlib import Path

from basics.program import EvalError, run_program

# isort: split
import uvicorn

from engines.choice import add_arguments, cluster_of
from serving.app import make_app
from serving.gate import Address, address_for
from serving.options import ServeOptions
from serving.patience import PatientProtocol
from serving.place import package_place, run_place

MOST_CONNECTIONS = 512
BACKLOG = 256


def parse_arguments(argv: list[str] | None) -> ServeOptions:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    served = parser.add_mutually_exclusive_group(required=True)
    served.add_argument("--features", type=Path, help="features of a run; train/ is the database, test/ may be there")
    served.add_argument("--package", type=Path, help="a package (python/package.py) whose codes are the database")
    add("--port", type=int, default=8000, help="default: %(default)s")
    add("--host", help="an address of this machine that others reach; a token is made and needed then "
        "(default: 127.0.0.1, which only this machine reaches, without a token)")
    add_arguments(add)
    add("--net", nargs=argparse.REMAINDER, default=[],
        help="last: the command that starts the net's process; it speaks the frames of python/README.md")
    given = parser.parse_args(argv)
    if not 0 <= given.port <= 65535:
        raise EvalError(f"--port {given.port} (PORT=): give 1 to 65535, or 0 for any that is free")
    place = package_place(given.package) if given.package else run_place(given.features)
    cluster = cluster_of(given, given.features)
    return ServeOptions(place, given.port, given.host or None, tuple(given.net), cluster and cluster.engine)


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(argv)
    listening = listen(options)
    address = address_for(options.host, listening.getsockname()[1])
    lost = []

    def gone(error: EvalError):
        """The cluster is gone: end, so that what supervises this process starts it again."""
        lost.append(error)
        server.should_exit = True

    app = make_app(options, address, gone)
    announce(address)
    config = uvicorn.Config(app, http=PatientProtocol, ws="none", lifespan="on", log_level="warning", access_log=False,
                            limit_concurrency=MOST_CONNECTIONS, timeout_keep_alive=5, timeout_graceful_shutdown=3,
                            server_header=False, proxy_headers=False, h11_max_incomplete_event_size=16384)
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:   # the way to stop it
        pass
    if lost:
        raise lost[0]
    print("serve: stopped")
    return 0


def listen(options: ServeOptions) -> socket.socket:
    """The socket, bound. EvalError, with what to type, where that is not possible."""
    host = options.host or "127.0.0.1"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(BACKLOG)
    except socket.gaierror as error:
        raise EvalError(f"--host {host} (HOST=): no such address ({error.strerror})") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EvalError(f"port {options.port} is in use: give another one, PORT={options.port + 1}") from None
        raise EvalError(f"cannot listen on {host}, port {options.port} (HOST=, PORT=): {os.strerror(error.errno)}") \
            from None
    return listening


def announce(address: Address):
    print(f"open {address.link}     (Ctrl-C ends it)", flush=True)
    if address.token:
        print("Whoever has this address can ask the run and see its images; it travels unencrypted.", flush=True)


if __name__ == "__main__":
    run_program(main)
