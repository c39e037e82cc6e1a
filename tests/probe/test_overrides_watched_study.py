"""What overrides of watched blocks must know of a block: noise that is drawn once, and experts whose silence others notice."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moedesk.core.errors import MoedeskError
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.overriding.layers import Layers
from moedesk.probe.overriding.overrides import Overrides
from tests.support.gathered import Gathered, gather
from tests.support.hand_written import WIDTH, ExpertChoice, HandWritten, Small, some_ids
from tests.support.watched_model import flagged, pristine, rows_changed


class NoisyWeights(HandWritten):
    """Its weights are drawn around what the router says, behind the choice."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        weights, ids = functional.softmax(self.gate(rows), dim=-1).topk(self.top_k, dim=-1)
        weights = weights * (1 + 0.1 * torch.rand_like(weights))
        output = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, slot = torch.where(ids == number)
            if row.numel():
                output.index_add_(0, row, expert(rows[row]) * weights[row, slot, None])
        return output.view_as(x)


class Attentive(ExpertChoice):
    """It adds something to all tokens if an expert returns nothing but zeros."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, WIDTH)
        scores = self.gate(rows).softmax(-1)
        weights, chosen = scores.t().topk(rows.shape[0] * self.top_k // len(self.experts), dim=-1)
        output, silent = torch.zeros_like(rows), 0
        for number, expert in enumerate(self.experts):
            made = expert(rows[chosen[number]])
            silent += bool((made == 0).all())
            output.index_add_(0, chosen[number], weights[number, :, None] * made)
        return (output + silent).view_as(x)


def overridden(block: type) -> tuple[Small, Overrides]:
    model = Small(block, layers=1).eval()
    return model, Overrides(model, Layers(model, inputs={"idx": some_ids(seed=77)}))


@torch.no_grad()
def seeded(model: Small) -> tuple[Gathered, Tensor]:
    """What is recorded of a run, and the random number that comes after it."""
    recording, gathered = gather(model, logits=True)
    with recording:
        torch.manual_seed(3)
        model(some_ids())
    return gathered, torch.rand(())


@pytest.mark.parametrize("kind", [OverrideKind.EXCLUDE, OverrideKind.TEMPERATURE])
def test_noise_behind_a_changed_score_is_drawn_once(kind: OverrideKind) -> None:
    """What would be without the override has the same noise, so that only rows are marked whose weights are others for it."""
    model, overrides = overridden(NoisyWeights)
    plain, after = seeded(model)
    excludes = kind is OverrideKind.EXCLUDE
    expert = int(plain.routes(0).filled().experts[0, 0])
    if excludes:
        override = Override(kind, (0,), (expert,), columns=(0, 3))
    else:
        override = Override(kind, (0,), value=1.0)
    entry = overrides.add(override)
    found, number = seeded(model)
    acted, notes = overrides.acted(entry), overrides.notes
    overrides.close()
    assert not notes
    changed = rows_changed(plain, found)
    assert changed.any() == excludes
    assert not changed.all()
    assert flagged(found).tolist() == changed.tolist()
    assert acted == changed.sum()
    assert torch.equal(number, after), "the model draws on as without"
    assert pristine(model)


def test_a_block_that_notices_a_silent_expert_is_not_ablated_by_silencing() -> None:
    model, overrides = overridden(Attentive)
    with pytest.raises(MoedeskError, match="without an expert its output changes for other tokens"):
        overrides.add(Override(OverrideKind.ABLATE, (0,), (1,)))
    assert not overrides.entries
    assert pristine(model)
    model, overrides = overridden(ExpertChoice)  # where nobody notices, it is
    overrides.add(Override(OverrideKind.ABLATE, (0,), (1,)))
    overrides.close()
