"""Where a link listens, and the key that proves it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """What a client needs to reach a link.

    Attributes
    ----------
    address : str
        ``ipc://…`` (a socket in a folder that only its owner can enter) or ``tcp://host:port``.
    server_key : str
        The server's CURVE public key (Z85); empty on a local socket, which is not encrypted.
    """

    address: str
    server_key: str = ""

    @property
    def local(self) -> bool:
        """Whether it is a socket of this machine's file system."""
        return self.address.startswith("ipc://")
