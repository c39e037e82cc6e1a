"""What is explained in a session is kept beside its capture, announced, and there when it is opened again."""

import threading
from pathlib import Path

import pytest

from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.attribution import Explanation
from moedesk.session.jobs import Jobs
from moedesk.session.session import Session
from tests.capture.test_labels import write
from tests.core.test_attribution import WHY
from tests.support.memory_store import memory_store
from tests.support.until import PATIENCE


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    with CaptureWriter(tmp_path / "a.h5") as writer:
        write(writer)
    return tmp_path / "a.h5"


def test_it_is_kept_announced_and_read_again(capture: Path) -> None:
    with open_capture(capture) as store:
        session = Session(store, Jobs(lambda work: work()), capture)
        announced, read = threading.Event(), threading.Event()
        found: list[tuple[Explanation, ...]] = []
        session.changed.connect(lambda name: announced.set() if name == "attributions" else None)
        session.explanations.add(WHY, pytest.fail)
        assert announced.wait(PATIENCE)
        session.explanations.all(lambda given: (found.append(given), read.set())[0])
        assert read.wait(PATIENCE)
        assert [explanation.title for explanation in found[0]] == [WHY.title]
        session.close()
    with open_capture(capture) as again:
        assert [explanation.title for explanation in again.attributions] == [WHY.title]


def test_what_cannot_be_kept_is_said(capture: Path) -> None:
    said: list[str] = []
    session = Session(memory_store(), Jobs(lambda work: work()))
    session.explanations.add(WHY, said.append)
    assert said == ["Explanations can't be kept here: there is no capture file"]
    session.close()
    capture.with_name("a.h5.attributions").write_bytes(b"nothing")
    with open_capture(capture) as store:
        session = Session(store, Jobs(lambda work: work()), capture)
        heard = threading.Event()
        session.explanations.add(WHY, lambda line: (said.append(line), heard.set())[0])
        assert heard.wait(PATIENCE)
        assert said[1].startswith("Not kept: explanations left out: a.h5.attributions can't be read")
        session.close()
