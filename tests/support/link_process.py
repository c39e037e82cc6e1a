"""The kernel's side of a link in a process of its own, to be killed, forked or ended; told what to do on its command line."""

import os
import signal
import sys
import threading
import warnings

from moedesk.link import server as link_server
from moedesk.link.own_server import own_server
from tests.support.routing import random_batch, random_model
from tests.support.until import PATIENCE


def flood(tokens: int) -> None:
    """Send passes until killed; step is the number."""
    server, model = own_server(), random_model()
    print(server.listen_local().address, flush=True)
    while not server.clients:
        threading.Event().wait(0.001)
    stream = server.open_stream("m")
    stream.describe(model)
    batch, number = random_batch((1,), model, tokens), 0
    while True:
        batch.header["step"] = number
        stream.append(batch)
        number += 1


def last_words(how: str) -> None:
    """Send 50 passes and end, without closing anything."""
    server, model = own_server(), random_model()
    print(server.listen_local().address, flush=True)
    while not server.clients:
        threading.Event().wait(0.001)
    stream = server.open_stream("m")
    stream.describe(model)
    for number in range(50):
        stream.append(random_batch((number,), model, 2000))
    if how == "error":
        raise SystemExit(3)


def fork() -> None:
    """Fork in the middle; the child uses what it inherited, and the parent goes on."""
    server, model = own_server(), random_model()
    print(server.listen_local().address, flush=True)
    while not server.clients:
        threading.Event().wait(0.001)
    stream = server.open_stream("m")
    stream.describe(model)
    stream.append(random_batch((0,), model, 2000))
    server._hub._lock.acquire()  # as another thread may hold it: in the child nobody ever lets go of it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Python 3.12 on: that a process with threads forks
        child = os.fork()
    if child == 0:
        signal.alarm(round(PATIENCE))
        stream.append(random_batch((99,), model, 2000))
        stream.note("from the child")
        stream.count(passes=100)
        stream.close()
        server.reveal({"kind": "layer"})
        server.close()
        own = own_server()
        assert own is not server
        assert own.listen_local().address != server._endpoints["local"].address
        own.close()
        sys.exit(0)
    server._hub._lock.release()
    assert os.waitpid(child, 0)[1] == 0
    stream.append(random_batch((1,), model, 2000))
    stream.close()


if __name__ == "__main__":
    signal.alarm(round(PATIENCE))
    link_server.CLOSE_SECONDS = PATIENCE  # for a client that is slow only because the machine is busy
    {"flood": lambda: flood(int(sys.argv[2])), "end": lambda: last_words(sys.argv[2]), "fork": fork}[sys.argv[1]]()
