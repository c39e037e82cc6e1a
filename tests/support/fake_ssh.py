"""Stands in for ssh in tests: forwards the ports of -L within this machine, or prints a file for ``cat``."""

import socket
import subprocess
import sys
import threading


def forward(here: int, host: str, there: int) -> None:
    listener = socket.create_server(("127.0.0.1", here))
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection((host, there))
        except OSError:
            near.close()
            continue
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main(arguments: list[str]) -> int:
    if "-N" not in arguments:
        return subprocess.call(["sh", "-c", arguments[-1]])
    for place, argument in enumerate(arguments):
        if argument == "-L":
            _, here, host, there = arguments[place + 1].split(":")
            threading.Thread(target=forward, args=(int(here), host, int(there)), daemon=True).start()
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
