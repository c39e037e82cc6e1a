"""Live expressions: short answers, one at a time, on a thread of their own, and no GPU is waited for."""

import threading
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import MoeCausalLMOutputWithPast

from moedesk.probe.console.expressions import Expressions, evaluate
from moedesk.probe.console.shorten import shorten
from tests.support.until import PATIENCE


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1 + 1", ("2", True)),
        ("$0 * 2", ("14", True)),
        ("f'{$0} {$_}'", ("'7 8'", True)),
        ("x", ("[1, 2, 3]", True)),
        ("missing", ("NameError: name 'missing' is not defined", False)),
        ("1 / 0", ("ZeroDivisionError: division by zero", False)),
        ("y = 3", ("SyntaxError: invalid syntax", False)),
        ("", ("SyntaxError: invalid syntax", False)),
        ("[i for i in", ("SyntaxError: '[' was never closed", False)),
        ("stop()", ("SystemExit: 3", False)),
        ("fail()", ("ValueError: first line", False)),
        ("bare()", ("KeyError", False)),
        ("'\\ud800'", ("'\\ud800'", True)),
        ("half()", (r"ValueError: \ud800", False)),
    ],
)
def test_an_answer_is_one_short_text(text: str, answer: tuple[str, bool]) -> None:
    def raising(error: BaseException) -> Any:
        def call() -> None:
            raise error

        return call

    names = {"sel": [7], "_": 8, "x": [1, 2, 3], "stop": raising(SystemExit(3)), "bare": raising(KeyError())}
    names |= {"fail": raising(ValueError("first line\nsecond")), "half": raising(ValueError("\ud800"))}
    given = evaluate(text, names)
    assert given == answer
    given[0].encode()


def elsewhere(shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor on a device from which nothing can be read."""
    return torch.empty(shape, device="meta", dtype=torch.bfloat16)


def test_tensors() -> None:
    assert (
        shorten(torch.arange(12.0).reshape(3, 4) / 3) == "Tensor float32 (3, 4) [0, 0.3333, 0.6667, 1, 1.333, 1.667, …]"
    )
    assert shorten(torch.nn.Parameter(torch.ones(2))) == "Parameter float32 (2,) [1, 1]"
    assert shorten(torch.tensor(3)) == "Tensor int64 () [3]"
    assert shorten(torch.tensor([True, False])) == "Tensor bool (2,) [True, False]"
    assert shorten(torch.zeros(0, 3)) == "Tensor float32 (0, 3) []"
    assert shorten(torch.eye(2).to_sparse()).startswith("Tensor float32 (2, 2)")
    assert shorten(torch.tensor([1 + 2j])) == "Tensor complex64 (1,) [(1+2j)]"
    assert shorten(np.arange(9).reshape(3, 3)) == "ndarray int64 (3, 3) [0, 1, 2, 3, 4, 5, …]"


def test_what_lies_on_another_device_is_not_read() -> None:
    Point = namedtuple("Point", "x y")
    far = elsewhere((2, 3))
    assert shorten(far) == "Tensor bfloat16 (2, 3) meta"
    for holder in ([far], (far,), {"a": far}, OrderedDict(a=far), Point(far, 1), {1: [far]}):
        assert "Tensor bfloat16 (2, 3) meta" in shorten(holder)
    output = MoeCausalLMOutputWithPast(logits=far, router_logits=(far, far))
    assert shorten(output).startswith(
        "MoeCausalLMOutputWithPast(logits=Tensor bfloat16 (2, 3) meta, router_logits=(Tensor"
    )


def test_anything_is_short() -> None:
    class Long:
        def __repr__(self) -> str:
            return "x" * 100_000

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    nested: Any = []
    for _ in range(10_000):
        nested = [nested]
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(200)))
    for value in (
        Long(),
        [Long()] * 50,
        "y" * 10_000,
        list(range(10**6)),
        {n: Long() for n in range(99)},
        nested,
        model,
    ):
        assert len(shorten(value)) <= 500
    assert shorten(Long()).endswith("…")
    assert "Broken" in shorten(Broken())
    assert shorten("short") == "'short'"


@pytest.fixture
def expressions() -> Iterator[Expressions]:
    expressions = Expressions({"sel": [7]})
    yield expressions
    expressions.close()


def test_answers_come_from_a_thread_of_their_own(expressions: Expressions) -> None:
    answers: SimpleQueue[Any] = SimpleQueue()
    expressions.ask(1, "__import__('threading').current_thread().name", lambda *answer: answers.put(answer))
    assert answers.get(timeout=PATIENCE) == ("'moedesk-expressions'", True)


def test_a_slow_one_holds_up_only_the_others_and_the_newest_text_counts(expressions: Expressions) -> None:
    go, began = threading.Event(), threading.Event()
    expressions._namespace.update(go=go, began=began)
    answers: SimpleQueue[Any] = SimpleQueue()

    def noting(name: str) -> Any:
        return lambda text, ok: answers.put((name, text))

    expressions.ask(1, "began.set() or go.wait(180)", noting("slow"))
    assert began.wait(PATIENCE)
    for number in range(100):  # this thread isn't held up
        expressions.ask(2, f"{number}", noting("often"))
    expressions.ask(3, "3", noting("last"))
    assert answers.empty()
    go.set()
    assert [answers.get(timeout=PATIENCE) for _ in range(3)] == [("slow", "True"), ("often", "99"), ("last", "3")]
    assert answers.empty()


def test_after_close_nothing_is_answered() -> None:
    expressions = Expressions({})
    answered = threading.Event()
    expressions.ask(1, "1", lambda text, ok: answered.set())
    assert answered.wait(PATIENCE)
    expressions.close()
    expressions.ask(2, "2", lambda text, ok: pytest.fail("answered"))
    assert not expressions._thread.is_alive()
