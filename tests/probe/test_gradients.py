"""Norms of gradients and of experts' outputs, against slices of ``grad`` and experts run one at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from moedesk.probe.training.gradients import LayerGradients
from moedesk.probe.training.outputs import Outputs
from tests.support.families import build
from tests.support.gathered import gather
from tests.support.hand_written import BLOCKS, HandWritten, Small, some_ids

EXPERT_OUTPUT = Callable[[Any, int, Tensor], Tensor]


def train(
    model: nn.Module, parts: int = 1, steps: int = 2, inputs: Any = None, clip: float = 0.0
) -> list[dict[str, Any]]:
    """Train with SGD; return what the gradients were at each step, by parameter."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    seen = []
    for number in range(steps):
        optimizer.zero_grad()
        for part in range(parts):
            (model(**(inputs or some_inputs)(number * parts + part)).loss / parts).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        seen.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        optimizer.step()
    return seen


def some_inputs(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 100, (2, 9), generator=generator)
    return {"input_ids": ids, "labels": ids}


def stacked(gradients: dict[str, Tensor], prefix: str, expert: int) -> float:
    """L2 norm over the slices of all stacked parameters."""
    return sum(float((g[expert].double() ** 2).sum()) for n, g in gradients.items() if n.startswith(prefix)) ** 0.5


def together(gradients: dict[str, Tensor], *prefixes: str) -> float:
    """L2 norm over whole parameters."""
    return sum(float((g.double() ** 2).sum()) for n, g in gradients.items() if n.startswith(prefixes)) ** 0.5


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["olmoe", "gpt_oss", "deepseek_v3"])
def test_stacked_experts(family: str, checkpointing: bool) -> None:
    model = build(family).train()
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    recording, gathered = gather(model, backward=True)
    with recording:
        seen = train(model, parts=2, clip=0.7)
    assert len(gathered.steps) == 2
    for layer in gathered.model.layers:
        expected = [[stacked(g, layer.experts_path + ".", e) for e in range(layer.experts)] for g in seen]
        np.testing.assert_allclose(gathered.norms("gradients", layer.place), expected, rtol=2e-5)
        router = [together(g, layer.router_path + ".") for g in seen]
        np.testing.assert_allclose(gathered.norms("router", layer.place), router, rtol=2e-5)
        shared = [together(g, layer.path + ".shared") if layer.shared else np.nan for g in seen]
        np.testing.assert_allclose(gathered.norms("shared", layer.place), shared, rtol=2e-5)
    assert not gathered.notes


def switch_inputs(seed: int) -> dict[str, Tensor]:
    given = some_inputs(seed)
    return {**given, "labels": given["labels"][:, :7].contiguous()}


def test_experts_that_are_modules() -> None:
    model = build("switch_transformers").train()
    recording, gathered = gather(model, backward=True)
    with recording:
        seen = train(model, parts=2, inputs=switch_inputs)
    for layer in gathered.model.layers:
        expected = [[together(g, f"{layer.experts_path}.expert_{e}.") for e in range(layer.experts)] for g in seen]
        np.testing.assert_allclose(gathered.norms("gradients", layer.place), expected, rtol=2e-5)
    assert not gathered.notes


def test_an_unused_expert_has_0_and_a_frozen_one_nothing() -> None:
    model = build("switch_transformers").train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = ".expert_2." not in name
    inputs = {"input_ids": torch.full((1, 2), 7), "labels": torch.full((1, 2), 7)}
    recording, gathered = gather(model, backward=True)
    with recording:
        seen = train(model, inputs=lambda _: inputs)
    zeros = 0
    for layer in gathered.model.layers:
        norms, counts = gathered.norms("gradients", layer.place), gathered.routes(layer.place, 1).counts
        assert np.isnan(norms[:, 2]).all()
        for expert in (0, 1, 3):
            used = any(n.startswith(f"{layer.experts_path}.expert_{expert}.") for n in seen[-1])
            if not used and np.isfinite(norms[-1]).any():
                assert counts[expert] == 0
                assert norms[-1, expert] == 0
                zeros += 1
    assert zeros


def test_frozen_stacks_have_nothing() -> None:
    model = build("olmoe").train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "experts" not in name
    recording, gathered = gather(model, backward=True)
    with recording:
        train(model)
    assert np.isnan(gathered.norms("gradients", 0)).all()
    assert np.isfinite(gathered.norms("router", 0)).all()


def test_a_scaler_does_not_show() -> None:
    """With a fused optimizer the gradients are still scaled when it steps."""
    model, expected = build("olmoe").train(), build("olmoe").train()
    (seen,) = train(expected, steps=1)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    recording, gathered = gather(model, backward=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with recording:
        scaler.scale(model(**some_inputs(0)).loss).backward()
        scaler.step(optimizer)
        scaler.update()
    router = together(seen, gathered.model.layers[0].router_path + ".")
    np.testing.assert_allclose(gathered.norms("router", 0), [router], rtol=1e-5)


def olmoe_expert(experts: Any, number: int, rows: Tensor) -> Tensor:
    gate, up = (rows @ experts.gate_up_proj[number].T).chunk(2, -1)
    result: Tensor = (experts.act_fn(gate) * up) @ experts.down_proj[number].T
    return result


def switch_expert(experts: Any, number: int, rows: Tensor) -> Tensor:
    result: Tensor = experts[f"expert_{number}"](rows)
    return result


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_outputs_of_stacked_experts(implementation: str) -> None:
    model = build("olmoe").train()
    model.set_experts_implementation(implementation)

    def padded(seed: int) -> dict[str, Tensor]:
        mask = torch.ones(2, 9, dtype=torch.int64)
        mask[1, 6:] = 0
        return {**some_inputs(seed), "attention_mask": mask}

    check_outputs(model, padded, olmoe_expert)


def test_outputs_of_experts_that_are_modules() -> None:
    model = build("switch_transformers", dropout_rate=0.0).train()
    check_outputs(model, switch_inputs, switch_expert)


def check_outputs(model: nn.Module, inputs: Any, run: EXPERT_OUTPUT) -> None:
    """Run each expert by hand on the rows that it got in the second step (the first call of a layer only binds it)."""
    calls: list[tuple[str, Any, Tensor, dict[str, Tensor]]] = []
    recording, gathered = gather(model, backward=True)

    def keep(name: str) -> Any:
        def kept(module: nn.Module, args: Any) -> None:
            weights = {key: value.detach().clone() for key, value in module.state_dict().items()}
            calls.append((name, module, args[0].detach().clone(), weights))

        return kept

    paths = [name for name, module in model.named_modules() if name.endswith("experts")]
    handles = [model.get_submodule(path).register_forward_pre_hook(keep(path)) for path in paths]
    with recording:
        train(model, inputs=inputs, steps=2)
    for handle in handles:
        handle.remove()
    assert not gathered.notes
    last = {name: (module, rows, weights) for name, module, rows, weights in calls}
    for layer in gathered.model.layers:
        module, rows, weights = last[layer.experts_path]
        module.load_state_dict(weights)
        routes, padding = gathered.routes(layer.place, 1), gathered.batches[1].tokens[layer.stream]["is_padding"]
        for expert in range(layer.experts):
            mine = (routes.experts == expert).any(1) & ~padding
            with torch.no_grad():
                out = run(module, expert, rows.reshape(-1, rows.shape[-1])[torch.from_numpy(mine)])
            expected = out.norm(dim=-1).mean().item() if mine.any() else np.nan
            found = gathered.norms("outputs", layer.place)[1, expert]
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=f"{layer.path} {expert}")


def test_random_numbers_stay_the_models() -> None:
    """Experts that draw some run a second time, and the layers after them draw as they would have."""
    losses = []
    for backward in (False, True):
        model = build("olmoe").train()
        for layer in model.model.layers:
            layer.mlp.experts.act_fn = nn.Sequential(nn.SiLU(), nn.Dropout(0.5))
        recording, gathered = gather(model, backward=backward)
        torch.manual_seed(5)
        with recording:
            losses.append([model(**some_inputs(seed)).loss.item() for seed in range(3)])
        said = [note for note in gathered.notes if "don't make the layer's" in note]
        assert len(said) == 2 * backward, "what is random can't be measured again"
    assert losses[0] == losses[1]


@pytest.mark.parametrize("family", ["olmoe", "switch_transformers"])
def test_a_part_of_the_experts_is_never_taken_for_the_first_ones(family: str) -> None:
    """A process that holds 8 of 16 experts numbers them from 0."""
    model = build(family).train()
    recording, _ = gather(model)
    with recording:
        model(**(switch_inputs if family == "switch_transformers" else some_inputs)(0)).loss.backward()
        assert recording._tracer is not None
        binding = recording._tracer.bindings[0]
    here = binding.layer.experts
    half = replace(binding, layer=replace(binding.layer, experts=2 * here))
    mine = {id(parameter) for parameter in model.parameters()}
    for bound, expected in ((binding, True), (half, False)):
        gradients, outputs = LayerGradients(bound, model), Outputs(True)
        assert ("gradients" in {norms.part for norms in gradients.read(mine, None)}) == expected
        outputs.bind(bound)
        outputs.remove()
        lines = [*gradients.notes, *outputs.notes]
        missing = f"{binding.layer.path}: only {here} of its {2 * here} experts are in this process; no "
        assert lines == ([] if expected else [f"{missing}gradient norms of them", f"{missing}output norms"])


@pytest.mark.parametrize("name", BLOCKS)
def test_hand_written_blocks(name: str) -> None:
    """A ModuleList of experts inside the block's own forward: gradients by module, outputs where they ran."""
    model = Small(BLOCKS[name]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    rows: dict[tuple[int, int], list[Tensor]] = {}
    seen = []
    recording, gathered = gather(model, backward=True)
    blocks = [module for module in model.modules() if isinstance(module, HandWritten)]
    handles = [
        expert.register_forward_hook(
            lambda module, args, output, key=(place, number): rows.setdefault(key, []).append(output.detach())
        )
        for place, block in enumerate(blocks)
        for number, expert in enumerate(block.experts)
    ]
    with recording:
        for seed in range(3):
            rows.clear()
            optimizer.zero_grad()
            model(some_ids(seed=seed, length=30)).square().mean().backward()
            seen.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
            optimizer.step()
    for handle in handles:
        handle.remove()
    assert not gathered.notes
    for layer in gathered.model.layers:
        expected = [[together(g, f"{layer.path}.experts.{e}.") for e in range(layer.experts)] for g in seen]
        np.testing.assert_allclose(gathered.norms("gradients", layer.place), expected, rtol=2e-5)
        outputs, ids = gathered.norms("outputs", layer.place)[2], gathered.routes(layer.place, 2).experts
        for expert in range(layer.experts):
            mine = torch.from_numpy((ids == expert).any(1))
            ran = [part.reshape(-1, part.shape[-1]).norm(dim=-1) for part in rows.get((layer.place, expert), [])]
            ran = [part[mine] if name == "AllExpertsRun" else part for part in ran]
            mean = torch.cat(ran).mean().item() if ran and mine.any() else np.nan
            np.testing.assert_allclose(outputs[expert], mean, rtol=1e-5)
