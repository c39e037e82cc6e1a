"""Overrides on every family, whatever way its selection takes: exact, or refused by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moedesk
from moedesk.core.columns import RouteFlag
from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.core.override_code import as_python
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides
from tests.support.families import FAMILIES, some_ids
from tests.support.families.observed import first_tensor
from tests.support.gathered import Gathered, gather
from tests.support.overridden import added

EVERY = pytest.mark.parametrize("name", FAMILIES)
UNRANKED = {"vitpose_backbone", "nllb_moe"}
"""Families where no score decides what runs."""


EACH_WAY = (
    "aria", "cohere2_moe", "flint", "gemma4", "gpt_oss", "granitemoe", "hunyuan_v1_moe", "mixtral", "olmoe", "phimoe", "afmoe",
    "deepseek_v4", "ernie4_5_moe", "inkling", "kolibri1", "lfm2_moe", "longcat_flash", "minimax_m2", "muse_spark", "axk2",
    "deepseek_v2 grouped", "deepseek_v3", "mistral4", "switch_transformers", "dbrx", "llama4",
)  # fmt: skip
"""Families whose routers are written in different ways."""


QUIET = {"zaya", "diffusion_gemma"}
"""Families whose first layer's favourite doesn't show in what is compared: skip, and an encoder's last layer."""


class Tried:
    """One family with its overrides."""

    def __init__(self, name: str) -> None:
        family = FAMILIES[name]
        self.name, self.model, self.inputs = name, family.build(), family.arguments(some_ids())
        with torch.no_grad():
            self.model(**self.inputs)  # some hook themselves in their first call
        self.hooks = hooks_on(self.model)
        self.overrides = Overrides(self.model, Layers(self.model, inputs=self.inputs))
        self.plain, self.output, self.blocks = self.run()

    @torch.no_grad()
    def run(self) -> tuple[Gathered, Tensor, dict[str, Tensor]]:
        """What is recorded of a forward, its output, and what each block returned."""
        blocks: dict[str, Tensor] = {}

        def keep(path: str) -> Any:
            return lambda module, args, output: blocks.update({path: first_tensor(output).clone()})

        infos = self.overrides.info.layers
        recording, gathered = gather(self.model)
        handles = [self.model.get_submodule(layer.path).register_forward_hook(keep(layer.path)) for layer in infos]
        with recording:
            output = first_tensor(self.model(**self.inputs))
        for handle in handles:
            handle.remove()
        return gathered, output.clone(), blocks

    @contextmanager
    def on(self, *overrides: Override) -> Iterator[None]:
        """Overrides that act in the block, and leave nothing."""
        with added(self.overrides, *overrides):
            yield
        assert hooks_on(self.model) == self.hooks

    def chosen(self) -> Iterator[tuple[Any, int, np.ndarray]]:
        """A layer of each sort that runs, with the expert chosen most, and which rows chose it."""
        sorts = {(layer.block, layer.selection, layer.experts): layer for layer in self.overrides.info.layers}
        for layer in sorts.values():
            routes = self.plain.routes(layer.place)
            ids = routes.experts
            expert = int(np.bincount(ids[ids >= 0]).argmax())
            yield layer, expert, ((ids == expert) & (routes.weights != 0)).any(1)


tried = cache(Tried)


def hooks_on(model: nn.Module) -> list[tuple[int, int, bool]]:
    """What is on each module; some models hook themselves."""
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in vars(module))
        for module in model.modules()
    ]


def refusal(one: Tried, override: Override) -> str | None:
    """Why an override can't act; None if it can."""
    try:
        one.overrides.layers.check(override)
    except MoedeskError as error:
        return str(error)
    return None


def assert_flags_what_differs(gathered: Gathered, plain: Gathered, place: int) -> None:
    """Rows are flagged that have other ids or weights, and no others."""
    routes, before = gathered.routes(place), plain.routes(place)
    rows = (routes.experts != before.experts).any(1) | (routes.weights != before.weights).any(1)
    seen = (routes.flags & RouteFlag.ABSENT) == 0
    np.testing.assert_array_equal(flagged(gathered, place), rows & seen)


def flagged(gathered: Gathered, place: int) -> np.ndarray:
    return (gathered.routes(place).flags & RouteFlag.OVERRIDDEN) != 0


@EVERY
def test_without_overrides_it_is_as_it_was(name: str) -> None:
    one = tried(name)
    assert hooks_on(one.model) == one.hooks
    assert torch.equal(one.run()[1], one.output)


@EVERY
def test_ablating_changes_exactly_the_tokens_that_chose_the_expert(name: str) -> None:
    one = tried(name)
    for layer, expert, chose in one.chosen():
        override = Override(OverrideKind.ABLATE, (layer.place,), (expert,))
        with one.on(override):
            gathered, _, blocks = one.run()
        np.testing.assert_array_equal(flagged(gathered, layer.place), chose)
        routes = gathered.routes(layer.place)
        np.testing.assert_array_equal(routes.experts[chose], one.plain.routes(layer.place).experts[chose])
        assert not routes.weights[chose][routes.experts[chose] == expert].any()
        if layer.path not in blocks:  # JetMoE's attention calls the parts of its block
            continue
        before, after = one.blocks[layer.path], blocks[layer.path]
        if before.numel() // before.shape[-1] != len(chose) or layer.identity:
            continue  # the block's rows are other ones
        changed = (before != after).reshape(len(chose), -1).any(1).numpy()
        np.testing.assert_array_equal(changed, chose)


@EVERY
def test_an_expert_that_nobody_chose_has_no_effect(name: str) -> None:
    one = tried(name)
    overrides = []
    for layer in one.overrides.info.layers:
        ids = one.plain.routes(layer.place).experts
        idle = np.setdiff1d(np.arange(layer.experts), ids)
        if len(idle):
            overrides.append(Override(OverrideKind.ABLATE, (layer.place,), (int(idle[0]),)))
    if not overrides:
        return
    with one.on(*overrides):
        gathered, output, _ = one.run()
    assert torch.equal(output, one.output)
    assert not any(flagged(gathered, layer.place).any() for layer in one.overrides.info.layers)


@EVERY
def test_excluding_leaves_the_expert_out_and_forcing_brings_it_in(name: str) -> None:
    one = tried(name)
    for layer, expert, chose in one.chosen():
        exclude = Override(OverrideKind.EXCLUDE, (layer.place,), (expert,))
        plain = one.plain.routes(layer.place)
        if (refused := refusal(one, exclude)) is not None:
            assert name in UNRANKED or layer.selection == "hash" or "left" in refused, refused
        else:
            with one.on(exclude):
                gathered, _, _ = one.run()
            routes = gathered.routes(layer.place)
            assert not (routes.experts == expert).any()
            assert routes.experts.shape == plain.experts.shape
            assert flagged(gathered, layer.place)[chose].all()
            assert_flags_what_differs(gathered, one.plain, layer.place)
        force = Override(OverrideKind.FORCE, (layer.place,), (expert,))
        if (refused := refusal(one, force)) is not None:
            assert name == "nllb_moe", refused
            continue
        with one.on(force):
            gathered, _, _ = one.run()
        routes = gathered.routes(layer.place)
        assert_flags_what_differs(gathered, one.plain, layer.place)
        seen = (routes.flags & (RouteFlag.ABSENT | RouteFlag.DROPPED)) == 0
        assert (routes.experts[seen] == expert).any(1).all()
        same = chose & seen
        if layer.top_k > 1:  # rows that chose it anyway are left alone
            np.testing.assert_array_equal(routes.experts[same], plain.experts[same])
            np.testing.assert_allclose(routes.weights[same], plain.weights[same], rtol=1e-6)


@pytest.mark.parametrize("name", EACH_WAY)
def test_the_copied_code_does_the_same(name: str) -> None:
    """Without moedesk: executed where only ``model`` is, then taken back."""
    one = tried(name)
    layer, expert, chose = next(one.chosen())
    cases = [
        Override(OverrideKind.ABLATE, (), (expert,)),
        Override(OverrideKind.SCALE, (layer.place,), (expert,), 1.7),
        Override(OverrideKind.SWAP, (layer.place,), (0, layer.experts - 1)),
        Override(OverrideKind.CAPACITY, (layer.place,), value=0.6),
        Override(OverrideKind.BIAS, (layer.place,), (expert,), -1.3),
        Override(OverrideKind.TEMPERATURE, (layer.place,), value=1.9),
        Override(OverrideKind.EXCLUDE, (layer.place,), (expert,)),
        Override(OverrideKind.FORCE, (layer.place,), (expert,)),
        Override(OverrideKind.TOP_K, (layer.place,), value=1.0 if layer.top_k > 1 else 2.0),
    ]
    for override in cases:
        if layer.experts == 1 or refusal(one, override) is not None:
            continue
        code = as_python([override], one.overrides.info)
        if "moedesk does it" in code:
            continue
        assert "moedesk" not in code
        with one.on(override), torch.no_grad():
            expected = first_tensor(one.model(**one.inputs)).clone()
        names: dict[str, Any] = {"model": one.model}
        exec(code, names)
        try:
            with torch.no_grad():
                found = first_tensor(one.model(**one.inputs)).clone()
        finally:
            for take_back in names["undo"]:
                take_back()
        assert hooks_on(one.model) == one.hooks
        assert torch.equal(found, expected), override
        idle = override.kind is OverrideKind.SWAP or (override.kind is OverrideKind.FORCE and chose.all())
        assert idle or name == "phimoe" or not torch.equal(found, one.output), override


@EVERY
def test_a_replayed_capture_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    """Recorded while an expert counted half, replayed without that."""
    one = tried(name)
    layer, expert, _ = next(one.chosen())
    halved = Override(OverrideKind.SCALE, (layer.place,), (expert,), 0.5)
    with one.on(halved), torch.no_grad(), moedesk.record(one.model, tmp_path / "run.h5"):
        expected = first_tensor(one.model(**one.inputs)).clone()
    replay = Override(OverrideKind.REPLAY, capture=str(tmp_path / "run.h5"), weights=True)
    with one.on(replay), torch.no_grad():
        found = first_tensor(one.model(**one.inputs)).clone()
        notes = one.overrides.notes
    named = any((one.plain.tokens(stream)["token_id"] >= 0).any() for stream in one.plain.model.streams)
    assert bool(notes) != named
    assert all("taken by their number of rows" in note for note in notes)
    assert torch.equal(found, expected)
    assert torch.equal(found, one.output) == (name in QUIET)


@pytest.mark.parametrize(
    "name", [*(name for name in EACH_WAY if name != "switch_transformers"), "doge", "jetmoe", "zaya"]
)
def test_replayed_ids_alone_give_the_same_bits(name: str, tmp_path: Path) -> None:
    """Recorded while an expert was forced: what its ids make of the model's own scores is the same again."""
    one = tried(name)
    layer, _, _ = next(one.chosen())
    ids = one.plain.routes(layer.place).experts
    rare = int(np.bincount(ids[ids >= 0], minlength=layer.experts - layer.identity).argmin())
    force = Override(OverrideKind.FORCE, (layer.place,), (rare,))
    with one.on(force), torch.no_grad(), moedesk.record(one.model, tmp_path / "run.h5"):
        expected = first_tensor(one.model(**one.inputs)).clone()
    replay = Override(OverrideKind.REPLAY, (layer.place,), capture=str(tmp_path / "run.h5"))
    with one.on(replay), torch.no_grad():
        found = first_tensor(one.model(**one.inputs)).clone()
        assert not one.overrides.notes
    assert torch.equal(found, expected)
    assert not torch.equal(found, one.output)


@pytest.mark.parametrize("name", ["llama4", "jetmoe", "nllb_moe", "zaya", "doge", "vitpose_backbone", "mixtral"])
def test_gradients_flow_through_what_is_written(name: str) -> None:
    """An expert counts once as before, so that all is written again: gradients are those of the plain model, router included."""
    one = tried(name)
    found: list[dict[str, Tensor]] = []
    for overrides in ([], [Override(OverrideKind.SCALE, (), (0,), 1.0)]):
        one.model.zero_grad()
        with one.on(*overrides):
            output = first_tensor(one.model(**one.inputs))
            output.square().sum().backward()
        gradients = {key: part.grad.clone() for key, part in one.model.named_parameters() if part.grad is not None}
        found.append({"output": output.detach().clone(), **gradients})
    one.model.zero_grad()
    plain, again = found
    assert torch.equal(plain["output"], again["output"])
    assert plain.keys() == again.keys()
    for key in plain:
        torch.testing.assert_close(again[key], plain[key], msg=lambda text, key=key: f"{key}: {text}")
