"""Each check on made-up data, on both sides of its line."""

from dataclasses import replace

import numpy as np
import pytest

from moedesk.analysis.audit import audit
from moedesk.analysis.checks import registry
from moedesk.analysis.checks.check import About, Check
from moedesk.analysis.checks.weights import impossible, unranked
from moedesk.analysis.search import matching_passes
from moedesk.core.acted import Acted
from moedesk.core.columns import STEP, PassFlag
from moedesk.core.filter import parse
from moedesk.core.label import Label
from moedesk.core.override import Override, OverrideKind
from moedesk.core.verification import Check as Tried
from moedesk.core.verification import CheckName, LayerVerification, Verdict, Verification
from tests.support.audited import EXPERTS, PASSES, ROWS, found, healthy, of_logits
from tests.support.memory_store import MemoryStore, spare


def ids(store: MemoryStore) -> set[str]:
    return {one[0] for one in found(store)}


def test_healthy_is_healthy() -> None:
    assert found(healthy()) == set()


def test_passes_under_overrides_and_what_is_found_of_their_layers() -> None:
    store = healthy()
    for column in store.layers[1:3]:  # nobody chooses expert 3 of two layers
        column.experts[column.experts == 3] = 4
    dead = {("dead-expert", "layers.1", 3), ("dead-expert", "layers.2", 3)}
    assert {one for one in found(store) if one[0] in ("dead-expert", "overridden")} == dead
    exclude = Override(OverrideKind.EXCLUDE, (1,), (3,))
    decoding = Override(OverrideKind.SCALE, (0,), (5,), 0.5)
    store.overrides = (Acted(exclude, ((0, PASSES),)), Acted(decoding, ((3, 5), (7, 8))))
    findings = audit(store).findings
    (said,) = [one for one in findings if one.id == "overridden"]
    assert said.title == f"{PASSES} of {PASSES} passes ran under overrides"
    assert said.evidence["overrides"] == [exclude.title, decoding.title]
    assert (said.severity, said.reveal.filter) == ("info", "is:overridden")
    under = {one.layer: one.evidence.get("under_overrides") for one in findings if one.id == "dead-expert"}
    assert under == {"layers.1": [exclude.title], "layers.2": None}


def test_an_earlier_capture_names_its_overrides_in_notes() -> None:
    store = healthy()
    store.notes = ("overridden: ablate expert 3 in layer 1; the rows it changed are marked (is:overridden)",)
    (said,) = [one for one in audit(store).findings if one.id == "overridden"]
    assert said.title == "Some passes ran under overrides"
    assert said.evidence["overrides"] == ["ablate expert 3 in layer 1"]


def test_a_router_that_stands_still() -> None:
    store = healthy()
    for name in ("experts", "weights", "entropy", "margin", "logits"):
        column = getattr(store.layers[1], name)
        column[1000:1031] = column[1000]
    assert found(store) == set()  # 31 in a row
    for name in ("experts", "weights", "entropy", "margin", "logits"):
        column = getattr(store.layers[1], name)
        column[1000:1032] = column[1000]
    assert found(store) == {("stuck-router", "layers.1", None)}
    store.streams["main"]["token_id"][1000:1032] = 7  # the same token again and again is no sign
    assert found(store) == set()


def test_weights_renormalised_against_the_configuration() -> None:
    store = healthy()
    weights = store.layers[2].weights
    weights /= weights.sum(1, keepdims=True)
    assert {("weight-sum", "layers.2", None), ("inconsistent-routing", "layers.2", None)} == found(store)
    assert (
        ids(replace(store, model=replace(store.model, config={}))) == set()
    )  # neither the model nor half of the layers say
    wrong = healthy(config={"text_config": {"norm_topk_prob": True}})
    assert ids(wrong) == {"weight-sum"}
    for columns in wrong.layers:
        columns.weights /= columns.weights.sum(1, keepdims=True)
    assert found(wrong) == set()


def test_weights_of_another_layer() -> None:
    store = healthy()
    store.layers[0].weights = store.layers[1].weights
    assert found(store) == {("inconsistent-routing", "layers.0", None)}


def test_true_distributions_are_possible() -> None:
    store = healthy(seed=3)
    for columns, layer in zip(store.layers, store.model.layers, strict=True):
        values = [np.asarray(x, np.float64) for x in (columns.weights, columns.margin, columns.entropy)]
        assert not impossible(*values, layer, 1e-5).any()
        assert not unranked(columns.logits.astype(np.float64), columns.experts, 1e-6).any()


def test_experts_that_are_not_the_largest() -> None:
    store = healthy()
    store.layers[3].experts = (store.layers[3].experts + 1) % EXPERTS
    assert found(store) == {("not-the-largest", "layers.3", None)}


def test_a_layer_written_over_another() -> None:
    store = healthy()
    store.layers[3] = store.layers[1]
    assert found(store) == {("copied-layer", "layers.3", None)}


def test_experts_always_together() -> None:
    store = healthy()
    z = np.random.default_rng(5).normal(0, 1.5, (ROWS, EXPERTS))
    z[:, 6] = z[:, 2]
    store.layers[0] = of_logits(np.where(z == z[:, [2]], z + 0.3, z))
    pair = {one for one in found(store) if one[0] == "duplicate-experts"}
    together = (np.sort(store.layers[0].experts, 1) == [2, 6]).all(1).sum()
    either = (store.layers[0].experts == 2).any(1) | (store.layers[0].experts == 6).any(1)
    assert pair == ({("duplicate-experts", "layers.0", 2)} if together / either.sum() > 0.92 else set())
    store.layers[0].experts[either] = [2, 6]
    assert ("duplicate-experts", "layers.0", 2) in found(store)


def test_drift_of_one_layer_and_of_all() -> None:
    store = healthy()
    last = slice(ROWS * 3 // 4, ROWS)
    z = np.random.default_rng(6).normal(0, 1.5, (ROWS, EXPERTS))
    z[last, :3] += 1.5
    store.layers[2] = of_logits(z)
    (one,) = [one for one in audit(store).findings if one.id == "load-drift"]
    assert (one.layer, one.severity) == ("layers.2", "warning")
    assert (one.reveal.first_pass, one.reveal.last_pass) == (36, 48)
    store.layers = [store.layers[2] if n == 2 else of_logits(np.roll(z, n, 1)) for n in range(4)]
    assert "warning" not in {one.severity for one in audit(store).findings if one.id == "load-drift"}


def test_on_the_way_to_collapse() -> None:
    rng = np.random.default_rng(7)
    store = healthy()
    z = rng.normal(0, 1, (ROWS, EXPERTS)) + np.linspace(0, 5, ROWS)[:, None] * np.array([1, 1] + [0] * 6)
    store.layers[1] = of_logits(z)
    assert ("collapse-trend", "layers.1", None) in found(store)
    assert ("entropy-falling", "layers.1", None) in found(store)
    store.layers[1] = of_logits(z[::-1])
    assert not ids(store) & {"collapse-trend", "entropy-falling"}


def test_labels() -> None:
    store = healthy()
    store.labels = (Label("code", 0, 24), Label("prose", 24, 48))
    assert found(store) == set()
    z = np.random.default_rng(8).normal(0, 1.5, (ROWS, EXPERTS))
    z[:2400, 4] += 9
    z[2400:, 3] -= 99
    store.layers[0] = of_logits(z)
    kinds = {one.id: one for one in audit(store).findings}
    assert kinds["domain-on-one-expert"].expert == 4
    assert kinds["unused-in-domain"].evidence["unused_experts"] == {"prose": [3]}
    assert "dead-expert" not in kinds


def test_ranks() -> None:
    store = healthy()
    store.passes["rank"] = np.arange(PASSES) % 2
    store.passes["t1_ns"][1::2] = 1_220_000  # 1 - 1.11 / 1.22 = 9 %
    assert found(store) == set()
    store.passes["t1_ns"][1::2] = 1_300_000
    assert ids(store) == {"straggler"}


def test_training_steps() -> None:
    store = healthy()
    store.steps = np.zeros(12, STEP)
    store.steps["step"], store.steps["loss"] = np.arange(12), 2.0
    norms = np.random.default_rng(9).uniform(1, 2, (12, EXPERTS)).astype(np.float32)
    store.norms = {("gradients", 1): norms}
    assert found(store) == set()
    norms[4, 3], norms[:, 5] = 200, 0
    store.steps["loss"][7:] = np.nan
    assert found(store) == {
        ("exploding-gradients", "layers.1", 3), ("untrained-expert", "layers.1", 5), ("bad-loss", None, None),
    }  # fmt: skip
    norms[4, 3], norms[:, 5] = 90, norms[:, 6]
    store.steps["loss"][7:] = 2
    assert found(store) == {("equal-norms", "layers.1", 5)}
    store.steps["loss"][3] = np.inf
    assert "bad-loss" in ids(store)


def test_padding_that_counts() -> None:
    store = healthy(config={"norm_topk_prob": False, "pad_token_id": 0})
    tokens = store.streams["main"]
    tokens["token_id"][::200] = 0  # alone, it may be text
    assert found(store) == set()
    tokens["token_id"][95:100] = 0
    assert ids(store) == {"padding-counted"}
    tokens["is_padding"][95:100] = True
    assert found(store) == set()


def test_counts_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    store = healthy()
    real = store.window_counts()
    real[2][0] += 1
    monkeypatch.setattr(store, "window_counts", lambda *_: real, raising=False)
    assert found(store) == {("counts-differ", "layers.2", None)}
    store.passes["flags"][0] = PassFlag.COUNTS_ONLY
    assert ids(store) == {"left-out"}


def test_spared_passes() -> None:
    store = healthy()
    spare(store, (3, 4, 40))
    assert ids(store) == {"spared-passes"}
    (finding,) = [one for one in audit(store).findings if one.id == "spared-passes"]
    assert finding.evidence == {"spared_passes": 3, "passes": 48}
    assert matching_passes(store, parse(finding.reveal.filter)).numbers.tolist() == [3, 4, 40]


def test_bytes_never_touched() -> None:
    store = healthy()
    z = np.random.default_rng(10).normal(0, 1.5, (ROWS, EXPERTS))
    z[:, 5] = -50
    store.layers[0] = of_logits(z)
    kinds = {one.id: one for one in audit(store).findings}
    assert kinds["untouched-weights"].evidence["bytes"] == 2 * 1000
    assert kinds["untouched-weights"].evidence["bytes_of_all_experts"] == 4 * 16_000
    assert kinds["dead-expert"].expert == 5


def test_near_ties_depend_on_the_dtype() -> None:
    store = healthy()
    assert "near-ties" not in ids(store)
    assert "near-ties" in ids(replace(store, model=replace(store.model, dtype="bfloat16")))


@pytest.mark.parametrize(
    ("verdict", "kind"), [(Verdict.FAILED, "verification-failed"), (Verdict.NOT_CHECKED, "not-verified")]
)
def test_the_self_test(verdict: Verdict, kind: str) -> None:
    store = healthy()
    verification = Verification(
        "m", layers=(LayerVerification("layers.0", checks=(Tried(CheckName.REPLAY, verdict),)),)
    )
    store.model = replace(store.model, verification=verification)
    assert [one.id for one in audit(store).findings] == [kind]


def test_relabelling_experts_changes_only_their_numbers() -> None:
    store = healthy(layers=2)
    z = np.random.default_rng(11).normal(0, 1.5, (ROWS, EXPERTS))
    z[:, 1] = -50
    z[:, 6] += 4
    store.layers[1] = of_logits(z)
    order = np.array([3, 7, 0, 5, 1, 2, 4, 6])
    before = found(store)
    for columns in store.layers:
        columns.experts = order[columns.experts].astype(np.int8)
        columns.logits = columns.logits[:, np.argsort(order)]
    assert before >= {("dead-expert", "layers.1", 1)}
    assert found(store) == {(kind, layer, None if e is None else int(order[e])) for kind, layer, e in before}


class Broken(Check):
    abouts = (About("broken", "data", "nothing", "info", "none"),)

    def __init__(self, reads_rows: bool) -> None:
        self.reads_rows = reads_rows

    def partial(self, rows):
        raise ZeroDivisionError("in\nrows")

    def findings(self, evidence, partials):
        raise KeyError("x")


@pytest.mark.parametrize("reads_rows", [True, False])
def test_a_plug_in_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, reads_rows: bool) -> None:
    class Entry:
        name, value = "mine", "mine:CHECK"

        def load(self):
            return Broken(reads_rows)

    class Missing(Entry):
        def load(self):
            raise ImportError("no\nsuch")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry(), Missing()] if group == registry.GROUP else [])
    report = audit(healthy())
    assert len(report.notes) == 2
    assert "ImportError: no such" in report.notes[0]
    assert ("ZeroDivisionError: in rows" if reads_rows else "KeyError: 'x'") in report.notes[1]
    assert [one.id for one in report.findings] == ["not-verified"]
