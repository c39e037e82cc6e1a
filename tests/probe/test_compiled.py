"""torch.compile: what compiled code hands to the experts is captured, whole graphs stay whole, and nothing stays in them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from moedesk.probe.explaining.passage import passage_of_ids
from moedesk.probe.explaining.why import why
from tests.support.families import build, some_ids
from tests.support.gathered import Gathered, gather
from tests.support.received import Received


class Graphs:
    """A compiler that keeps the graphs it is given, and runs them as they are."""

    def __init__(self) -> None:
        self.taps: list[int] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        self.taps.append(sum("moedesk" in str(node.target) for node in graph.graph.nodes))
        return graph.forward


@pytest.fixture(autouse=True)
def no_compiled_code() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(model: nn.Module, way: str, **options: Any) -> Callable[..., Any]:
    """The model, or what runs it, with parts of it compiled."""
    if way == "wrapped":
        return torch.compile(model, **options)
    layers = model.model.layers
    parts = {
        "in place": [model],
        "base model": [model.model],
        "layers": list(layers),
        "blocks": [layer.mlp for layer in layers],
        "experts": [layer.mlp.experts for layer in layers],
    }[way]
    for part in parts:
        part.compile(**options)
    return model


def assert_same(gathered: Gathered, received: Received, passes: int) -> None:
    """Every pass routed as the one that was received from the model as it is written."""
    assert len(gathered.batches) == passes
    for batch in gathered.batches:
        assert len(batch.layers) == len(received.calls)
        for routes, (ids, weights) in zip(batch.layers, received.calls, strict=True):
            np.testing.assert_array_equal(routes.experts, ids)
            np.testing.assert_array_equal(routes.weights, weights)
            assert np.isfinite(routes.margin).all()
    np.testing.assert_array_equal(gathered.tokens()["token_id"].reshape(passes, -1), [some_ids().reshape(-1)] * passes)


@pytest.mark.parametrize(
    ("way", "first"),
    [
        ("wrapped", "run first"),
        ("in place", "compiled first"),
        ("base model", "run first"),
        ("layers", "attached first"),
        ("blocks", "run first"),
        ("experts", "attached first"),
    ],
)
def test_whole_graphs_are_captured_and_let_go(way: str, first: str) -> None:
    layers = 2 if way == "layers" else 1
    model, graphs = build("olmoe", num_hidden_layers=layers), Graphs()
    with torch.no_grad(), Received(model) as received:
        plain = model(some_ids()).logits
    run = None if first == "attached first" else compiled(model, way, backend=graphs, fullgraph=True)
    recording, gathered = gather(model, logits=True)
    with torch.no_grad():
        if first == "run first":
            run(some_ids())
        with recording:
            if run is None:
                run = compiled(model, way, backend=graphs, fullgraph=True)
            outputs = [run(some_ids()).logits for _ in range(4)]
        taken = len(graphs.taps)
        outputs.append(run(some_ids()).logits)
    assert all(torch.equal(plain, output) for output in outputs)
    assert_same(gathered, received, passes=4)
    assert all(routes.logits is not None for batch in gathered.batches for routes in batch.layers)
    # Each layer is in one graph, which is made once; hooks of a module that alone is compiled run before its graph.
    assert sum(graphs.taps[:taken]) == (0 if way == "experts" else layers)
    if way != "experts":
        assert len(graphs.taps) > taken
        assert not any(graphs.taps[taken:]), "what runs after the recording has nothing of it"
    assert not gathered.notes


def test_a_model_compiled_whole_after_it_was_hooked_says_what_to_do() -> None:
    model = build("olmoe", num_hidden_layers=1)
    recording, _ = gather(model)
    with torch.no_grad(), recording:
        run = torch.compile(model, backend="eager", fullgraph=True)
        with pytest.raises(torch._dynamo.exc.Unsupported, match="compile the model first, then hook it"):
            run(some_ids())


def test_a_function_around_the_model() -> None:
    model, graphs = build("olmoe", num_hidden_layers=1), Graphs()
    with torch.no_grad(), Received(model) as received:
        model(some_ids())
    run = torch.compile(lambda ids: model(ids).logits + 0, backend=graphs)
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        for _ in range(3):
            run(some_ids())
    assert_same(gathered, received, passes=3)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, while it compiles a layer
@pytest.mark.parametrize("way", ["wrapped", "layers"])
def test_training_step(way: str) -> None:
    def step(model: nn.Module, run: Callable[..., Any]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        run(some_ids(), labels=some_ids()).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain, model = (build("olmoe", num_hidden_layers=1).train() for _ in range(2))
    with Received(plain) as received:
        expected = step(plain, plain)
    run = compiled(model, way, backend="aot_eager")
    recording, gathered = gather(model)
    with recording:
        for _ in range(2):
            gradients = step(model, run)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], msg=name)
    assert [int(batch.header["step"]) for batch in gathered.batches] == [0, 0], "no optimizer stepped"
    assert [len(batch.layers) for batch in gathered.batches] == [1, 1]
    for routes, (ids, weights) in zip(gathered.batches[1].layers, received.calls, strict=True):
        np.testing.assert_array_equal(routes.experts, ids)
        np.testing.assert_allclose(routes.weights, weights, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_output_norms_of_compiled_experts_are_left_out_by_name() -> None:
    model = build("olmoe", num_hidden_layers=2).train()
    model.model.layers[0].compile(backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    recording, gathered = gather(model, backward=True)
    with recording:
        for _ in range(3):
            model(some_ids(), labels=some_ids()).loss.backward()
            optimizer.step()
    assert gathered.notes == ["model.layers.0.mlp: its experts run compiled; no output norms"]
    assert np.isnan(gathered.norms("outputs", 0)[2]).all()
    assert np.isfinite(gathered.norms("outputs", 1)[2]).any()
    assert np.isfinite(gathered.norms("gradients", 0)).all()


def test_generate_with_a_compiled_model_continues_its_sequences() -> None:
    model = build("olmoe", num_hidden_layers=1)
    with torch.no_grad():
        plain = model.generate(some_ids(), max_new_tokens=4, min_new_tokens=4, do_sample=False)
    model.compile(backend="eager", dynamic=True)
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        text = model.generate(some_ids(), max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert torch.equal(plain, text)
    rows = gathered.tokens()
    np.testing.assert_array_equal(rows["sequence"], [0] * 9 + [1] * 9 + [0, 1] * 3)
    np.testing.assert_array_equal(rows["column"][18:], np.repeat([9, 10, 11], 2))
    np.testing.assert_array_equal(rows["token_id"][18:].reshape(3, 2).T, text[:, 9:12].numpy())
    assert sum(gathered.counts(0)) == len(rows) * 2


def test_drops_in_a_compiled_switch_model() -> None:
    model = build("switch_transformers")
    inputs = {"input_ids": some_ids(), "decoder_input_ids": some_ids(2, 5)}
    whole, plain = gather(model)
    with torch.no_grad(), whole:
        model(**inputs)
    for name, module in model.named_modules():
        if name.endswith(".mlp"):
            module.compile(backend="eager")
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        for _ in range(2):
            model(**inputs)
    for expected, routes in zip(plain.batches[0].layers, gathered.batches[1].layers, strict=True):
        np.testing.assert_array_equal(routes.experts, expected.experts)
        np.testing.assert_array_equal(routes.weights, expected.weights)
        np.testing.assert_array_equal(routes.flags, expected.flags)


def test_why_looks_at_what_was_written() -> None:
    ids = some_ids(1)
    expected = why(build("mixtral"), passage_of_ids(ids), 1)
    parts, whole = build("mixtral"), build("mixtral")
    parts.get_submodule("model.layers.1").compile(backend="eager")
    for model in (parts, torch.compile(whole, backend="eager")):
        with torch.no_grad():
            before = model(ids).logits
            found = why(model, passage_of_ids(ids), 1)
            assert torch.equal(model(ids).logits, before)
        np.testing.assert_array_equal(found.contributions, expected.contributions)
        assert [each.name for each in found.components] == [each.name for each in expected.components]
