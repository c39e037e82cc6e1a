"""What can't be hooked is refused by name; a layer that something else stands in for is named after the first pass."""

import pytest
import torch
from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.finding.discovery import find_candidates
from tests.support.families import build, some_ids
from tests.support.gathered import gather


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_parts() -> None:
    model = build("olmoe")
    model.model.norm = torch.jit.script(nn.Linear(4, 4))
    with pytest.raises(MoedeskError, match=r"model\.norm \(.*\) can't be hooked: its compiled code calls no Python"):
        find_candidates(model)


def test_traced_graphs() -> None:
    graph = torch.fx.symbolic_trace(nn.Linear(4, 4))
    with pytest.raises(MoedeskError, match=r"the model .* can't be hooked: it is a graph that calls no modules"):
        find_candidates(graph)


def test_exported_programs() -> None:
    exported = torch.export.export(nn.Linear(4, 4), (torch.zeros(1, 4),))
    with pytest.raises(MoedeskError, match="ExportedProgram can't be hooked: it is a graph"):
        find_candidates(exported)  # type: ignore[arg-type]


def test_several_copies_at_once() -> None:
    model = nn.DataParallel(build("olmoe"))
    model.device_ids = [0, 1]  # as on a machine with two GPUs
    with pytest.raises(MoedeskError, match="DistributedDataParallel"):
        find_candidates(model)


@pytest.mark.parametrize("replaced", [1, 2])
def test_a_kernel_that_calls_no_module_is_noticed(replaced: int, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr("moedesk.probe.left_out.notice", warned.append)
    model = build("olmoe")
    for layer in model.model.layers[:replaced]:
        block = layer.mlp
        block.forward = lambda hidden, block=block: block.experts.forward(hidden[0], *_routing(block, hidden))[None]
    recording, gathered = gather(model)
    with torch.no_grad(), recording:
        for _ in range(3):
            model(some_ids(1))
    said = [note for note in gathered.notes if "not called in a whole pass" in note]
    names = [f"model.layers.{place}.mlp.experts" for place in range(replaced)]
    assert len(said) == 1
    assert said[0].startswith(", ".join(names) + ":")
    assert len(gathered.batches) == (3 if replaced == 1 else 0)
    assert warned == (said if replaced == 2 else [])


def _routing(block: nn.Module, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    logits = hidden[0] @ block.gate.weight.T
    weights, ids = logits.softmax(-1).topk(2)
    return ids, weights


def test_a_wrapper_for_several_processes_changes_nothing() -> None:
    model = build("olmoe")
    wrapped = nn.DataParallel(model)
    recording, gathered = gather(wrapped)
    alone, plain = gather(model)
    with torch.no_grad(), alone, recording:
        wrapped(some_ids())
    assert (gathered.routes(0).experts == plain.routes(0).experts).all()
    assert (gathered.tokens()["token_id"] == some_ids().reshape(-1).numpy()).all()
