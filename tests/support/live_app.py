"""An app with a live session that grows until it is killed: ``python -m tests.support.live_app``.

It prints the path of its scratch capture. Pass n is ``random_batch((9, n), MODEL, TOKENS)``.
"""

import threading
import time

from moedesk.session.settings import Settings
from moedesk.ui.app import make_application, make_window
from moedesk.ui.window import Window
from tests.support.live_sender import MODEL, TOKENS
from tests.support.routing import random_batch


def main() -> None:
    application = make_application()
    window = make_window(Settings(), mode="off")
    window.show()
    threading.Thread(target=send, args=(window,), daemon=True).start()
    application.exec()


def send(window: Window) -> None:
    from moedesk.session.feed import Feed

    live = window.live
    feed = Feed(live.scratch, live._delivery, live._wake, live._added, live._revealed)
    feed.opened(1, "olmoe")
    feed.described(1, MODEL)
    print(feed.streams[0].path, flush=True)
    number = 0
    while True:
        feed.arrived(1, random_batch((9, number), MODEL, TOKENS))
        number += 1
        time.sleep(0.001)


if __name__ == "__main__":
    main()
