"""Ports of this machine for programs that share its network."""

import random
import socket
import threading

from byoc.engines.base import MULTIPLE_PORTS_LABEL, SERVING_PORT
from byoc.errors import ByocError


class Ports:
    """Ports given to containers of this process, each to one until it ends."""

    # below the range from which Linux takes ports for outgoing connections
    CHOICE = range(20000, 32000)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    def take(self) -> int:
        """A free port, for an image that says it can be told one."""
        for port in random.sample(self.CHOICE, 100):
            if self._reserve(port):
                return port
        raise ByocError("No free port between 20000 and 32000: stop what uses them.")

    def take_fixed(self) -> int:
        """8080, for any other image; raises ByocError while somebody else has it."""
        if not self._reserve(SERVING_PORT):
            raise ByocError(
                f"Port {SERVING_PORT} is in use, and the image can't be told another: stop what "
                f"uses it, or let `serve` honour SAGEMAKER_BIND_TO_PORT and label the image "
                f"{MULTIPLE_PORTS_LABEL}=true."
            )
        return SERVING_PORT

    def release(self, port: int | None) -> None:
        """Give a port back; None is that of a container which took none."""
        with self._lock:
            self._taken -= {port}

    def _reserve(self, port: int) -> bool:
        with self._lock, socket.socket() as probe:
            if port in self._taken or probe.connect_ex(("127.0.0.1", port)) == 0:
                return False
            self._taken.add(port)
            return True


PORTS = Ports()
