"""A free port for a worker's next trainer, held until that trainer starts.

Each attempt has fresh ports, so that nothing of an older one can be taken for a member of the gang. The port lies below
the range from which the kernel gives ports to outgoing connections, so that none of those can take it between our
letting go of it and TensorFlow's binding it. The socket that holds it never listens.
"""

import random
import socket
from typing import Optional

#: Ports below are likely to be given to services by their administrators.
LOWEST_PORT = 12000
TRIES = 64


def lowest_ephemeral_port() -> int:
    """The first port that the kernel may give to an outgoing connection."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 32768


class HeldPort:
    """One reserved port. address: host:port as the gang's members are told it."""

    def __init__(self, host: str, chance: Optional[random.Random] = None) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.address = "{}:{}".format(host, self._bind(chance or random.Random()))

    def _bind(self, chance: random.Random) -> int:
        """Binds on every address, as TensorFlow's server does."""
        top = lowest_ephemeral_port()
        for _ in range(TRIES if top > LOWEST_PORT else 0):
            port = chance.randrange(LOWEST_PORT, top)
            try:
                self._socket.bind(("", port))
            except OSError:
                continue
            return port
        self._socket.bind(("", 0))
        return int(self._socket.getsockname()[1])

    def release(self) -> None:
        """Lets go of the port. Does nothing the second time."""
        self._socket.close()
