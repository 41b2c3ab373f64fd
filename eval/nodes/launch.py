"""`ray start`, in a process of its own, for a head or a node that may live on the loopback address alone.

    python -m nodes.launch --head --node-ip-address 127.0.0.1 ...       (words of `ray start`)

Ray takes 127.0.0.1 for the machine's address on its network and then listens on all of them. Left as it is given, it
listens there alone.
"""

import sys


def main(words: list[str]):
    from ray._private import services  # the environment is that of this process
    from ray.scripts import scripts  # late like it

    services.resolve_ip_for_localhost = lambda host: host
    scripts.cli(["start", *words], prog_name="ray")


if __name__ == "__main__":
    main(sys.argv[1:])
