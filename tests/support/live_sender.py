"""A process that sends passes over a link until it is killed: ``python -m tests.support.live_sender``.

It prints the address of its local socket. Pass n is ``random_batch((9, n), MODEL, TOKENS)``.
"""

import itertools
import time

from moedesk.link.server import LinkServer
from tests.support.routing import random_batch, random_model

MODEL = random_model(layers=4, experts=32, top_k=4)
TOKENS = 12


def main() -> None:
    server = LinkServer()
    print(server.listen_local().address, flush=True)
    stream = server.open_stream("olmoe")
    stream.describe(MODEL)
    while not server.clients:
        time.sleep(0.01)
    for number in itertools.count():
        stream.append(random_batch((9, number), MODEL, TOKENS))
        time.sleep(0.0005)


if __name__ == "__main__":
    main()
