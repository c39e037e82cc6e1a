"""A process that sends passes over a link until it is killed.

    python -m tests.support.live_sender [LAYERS EXPERTS K TOKENS RATE]

It prints the address of its local socket. Pass n is ``random_batch((9, n), MODEL, TOKENS)``; with arguments, a few of these in
turn at a rate of so many a second, with the time at which each was handed to the link as its end.
"""

import itertools
import sys
import time
from dataclasses import replace

from moedesk.core.model import ModelInfo
from moedesk.link.server import LinkServer
from moedesk.link.stream import StreamSink
from tests.support.routing import random_batch, random_model

MODEL = random_model(layers=4, experts=32, top_k=4)
TOKENS = 12


def main() -> None:
    server = LinkServer()
    print(server.listen_local().address, flush=True)
    stream = server.open_stream("olmoe")
    sizes = [int(argument) for argument in sys.argv[1:]]
    model = random_model(*sizes[:3]) if sizes else MODEL
    stream.describe(model)
    while not server.clients:
        time.sleep(0.01)
    if sizes:
        send_at_a_rate(stream, model, *sizes[3:])
    for number in itertools.count():
        stream.append(random_batch((9, number), MODEL, TOKENS))
        time.sleep(0.0005)


def send_at_a_rate(stream: StreamSink, model: ModelInfo, tokens: int, rate: int) -> None:
    batches = [random_batch((9, number), model, tokens, padding=0, dropped=0) for number in range(32)]
    start = time.monotonic()
    for number in itertools.count():
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        batch = batches[number % len(batches)]
        header = batch.header.copy()
        header["t1_ns"] = time.time_ns()
        header["t0_ns"] = header["t1_ns"] - 1_000_000
        stream.append(replace(batch, header=header))


if __name__ == "__main__":
    main()
