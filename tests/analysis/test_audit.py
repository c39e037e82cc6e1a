"""The audit against the known state of the sample models, and each check against made-up evidence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moedesk.analysis.audit import audit, judge
from moedesk.analysis.checks.evidence import Evidence, LayerEvidence
from moedesk.analysis.checks.gather import gather
from moedesk.analysis.checks.shares import slots_needed, zero_bound
from moedesk.analysis.finding import AuditReport, Finding
from moedesk.capture.open import open_capture
from moedesk.core.columns import PassFlag, RouteFlag
from moedesk.core.model import LayerInfo
from moedesk.core.resources import resource
from tests.support.memory_store import memory_store

REFERENCE = json.loads((Path(__file__).parent.parent / "data" / "reference_counts.json").read_text())["models"]


def layer(counts, place: int = 0, top_k: int = 2, score: str = "softmax", **sums) -> LayerEvidence:
    counts = np.array(counts)
    info = LayerInfo(f"layers.{place}", "Block", len(counts), top_k, score=score, place=place)
    return LayerEvidence(info, counts, rows=int(counts.sum()) // top_k, **sums)


def found(*layers: LayerEvidence, **capture) -> list[tuple[str, int | None]]:
    findings = judge(Evidence(layers, **capture)).findings
    return [(finding.id, finding.expert) for finding in findings if finding.id != "untouched-weights"]


def of_reference(model: str) -> Evidence:
    counts = REFERENCE[model]["all"]["counts"]
    return Evidence(tuple(layer(one, place) for place, one in enumerate(counts)))


def test_the_sick_model_is_sick_for_the_right_reasons() -> None:
    with open_capture(resource("sample", "tinymoe-sick.h5")) as capture:
        report = audit(capture)
    wrong = [finding for finding in report.findings if finding.severity != "info"]
    places = {finding.layer: finding for finding in wrong}
    assert {(f.id, f.layer, f.expert) for f in wrong} == {
        ("dead-expert", "model.layers.1.mlp", 3),
        ("dead-expert", "model.layers.1.mlp", 11),
        ("collapse", "model.layers.3.mlp", 5),
        ("undecided-router", "model.layers.5.mlp", None),
    }
    assert places["model.layers.3.mlp"].severity == "error"
    assert places["model.layers.3.mlp"].evidence["share_of_tokens"] == pytest.approx(0.998, abs=0.002)
    assert places["model.layers.5.mlp"].evidence["mean_token_entropy_over_ln_experts"] == pytest.approx(
        0.997, abs=0.001
    )
    assert report.score == 67


def test_the_healthy_model_is_healthy() -> None:
    with open_capture(resource("sample", "tinymoe.h5")) as capture:
        report = audit(capture)
    assert {finding.severity for finding in report.findings} <= {"info"}
    assert report.score == 100
    assert set(report.categories.values()) == {100}


def test_reference_counts_of_all_domains() -> None:
    findings = judge(of_reference("tinymoe-sick")).findings
    sick = [(finding.id, finding.layer, finding.expert) for finding in findings if finding.severity != "info"]
    assert sick == [("collapse", "layers.3", 5), ("dead-expert", "layers.1", 3), ("dead-expert", "layers.1", 11)]
    assert judge(of_reference("tinymoe")).findings == ()


def test_the_bound_on_a_share_never_seen() -> None:
    """At the bound, seeing none is as likely as 5 %."""
    for slots in (1, 10, 1000, 42_134):
        assert (1 - zero_bound(slots)) ** slots == pytest.approx(0.05)
    assert zero_bound(10_000) == pytest.approx(3 / 10_000, rel=0.01)
    assert zero_bound(0) == 1


@pytest.mark.parametrize("experts", [4, 16, 64, 256])
def test_dead_is_said_only_when_enough_was_seen(experts: int) -> None:
    slots = slots_needed(experts)
    assert zero_bound(slots) <= 0.1 / experts < zero_bound(slots - 1)
    even = np.full(experts, slots // (experts - 1) + 1)
    even[2] = 0
    assert found(layer(even, top_k=1)) == [("dead-expert", 2)]
    few = np.full(experts, 1)
    few[2] = 0
    assert found(layer(few, top_k=1)) == [("too-little-data", None)]


def test_too_little_data_names_what_it_has_not_seen() -> None:
    finding = judge(Evidence((layer([3, 0, 2, 1]), layer([900, 900, 900, 900], 1)))).findings[0]
    assert finding.severity == "info"
    assert finding.evidence["unseen_experts"] == {"layers.0": [1]}
    assert finding.evidence["slots_needed"] == slots_needed(4)
    assert "1 of 2 layers" in finding.title


def test_nothing_recorded_is_too_little_data() -> None:
    assert found(layer([0, 0, 0, 0])) == [("too-little-data", None)]


def test_a_collapse_is_said_when_it_is_sure() -> None:
    assert found(layer([950, 350, 300, 300])) == [("collapse", 0)]
    assert found(layer([990, 310, 300, 400])) == [("collapse", 0)]
    assert found(layer([905, 365, 365, 365])) == []  # 90.5 % of 1,000 tokens may be chance
    assert found(layer([19, 7, 6, 6])) == [("too-little-data", None)]
    assert found(layer([1000, 990, 10], top_k=2)) == []  # of three experts two are taken anyway


def test_concentrated_load() -> None:
    assert ("concentrated-load", None) in found(layer([800, 800, *[10] * 14], top_k=1))
    assert ("concentrated-load", None) not in found(layer([300, 300, *[50] * 14], top_k=1))


def test_a_hot_expert_is_said_when_it_is_sure() -> None:
    assert found(layer([300, *[60] * 15], top_k=1)) == [("hot-expert", 0)]
    assert found(layer([180, *[80] * 15], top_k=1)) == []  # 2.1 times an even share, by chance
    (finding,) = judge(Evidence((layer([300, *[60] * 15], top_k=1),))).findings
    assert finding.evidence["load_over_uniform"] == pytest.approx(300 * 16 / 1200)


def test_an_undecided_router() -> None:
    even = [500] * 16
    known = {"entropy_rows": 4000, "entropy_sum": 4000 * 0.99 * np.log(16), "margin_rows": 4000}
    assert found(layer(even, **known, margin_sum=4000 * 0.005)) == [("undecided-router", None)]
    assert found(layer(even, **known, margin_sum=4000 * 0.05)) == []  # even, but with a clear margin
    assert found(layer(even, score="sigmoid", **known, margin_sum=4000 * 0.05)) == [("undecided-router", None)]
    assert found(layer(even, **{**known, "entropy_sum": 4000 * 0.9 * np.log(16)})) == []
    assert found(layer(even)) == []  # entropy unknown


def test_drops_and_values_that_are_no_numbers() -> None:
    even = [500] * 8
    reports = [judge(Evidence((layer(even, dropped_slots=n, dropped_tokens=n),))).findings[0] for n in (10, 100)]
    assert [one.severity for one in reports] == ["info", "warning"]
    assert reports[1].evidence["share_of_slots"] == 100 / 4000
    assert found(layer(even, nonfinite=1)) == [("non-finite", None)]


def test_what_is_wrong_with_the_whole_capture() -> None:
    even = layer([500] * 8)
    assert found(even, complete=False, notes=("killed",)) == [("incomplete", None)]
    assert found(even, passes=9, failed=1) == [("failed-passes", None)]


def test_evidence_is_what_counting_row_by_row_gives(monkeypatch) -> None:
    monkeypatch.setattr("moedesk.analysis.checks.gather.ROWS", 9)
    store = memory_store(passes=25, layers=2, experts=8, top_k=2, seed=3)
    columns = store.layers[1]
    columns.flags[5:9] = RouteFlag.ABSENT
    columns.experts[5:9] = -1
    columns.entropy[20:30] = np.nan
    columns.margin[40:50] = 1e-5
    columns.flags[12] = RouteFlag.NONFINITE
    columns.flags[13] = RouteFlag.DROPPED
    columns.experts[13] = -1
    store.passes["flags"][2] = PassFlag.FAILED
    evidence = gather(store)
    rows = [row for row in range(store.n_tokens()) if not store.read_tokens()["is_padding"][row] and not 5 <= row < 9]
    one = evidence.layers[1]
    assert one.rows == len(rows)
    entropies = [float(columns.entropy[row]) for row in rows if not np.isnan(columns.entropy[row])]
    assert one.entropy_rows == len(entropies)
    assert one.entropy_sum == pytest.approx(sum(entropies))
    assert one.token_entropy == pytest.approx(np.mean(entropies) / np.log(8))
    assert one.mean_margin == pytest.approx(np.mean([columns.margin[row] for row in rows]))
    assert one.near_ties == sum(columns.margin[row] < 1e-4 for row in rows)
    assert one.nonfinite == (12 in rows)
    dropped = [row for row in rows if columns.flags[row] & RouteFlag.DROPPED]
    assert one.dropped_tokens == len(dropped)
    assert one.dropped_slots == sum((columns.experts[row] < 0).sum() for row in dropped)
    assert one.counts.tolist() == store.counts(1).tolist()
    assert (evidence.passes, evidence.failed, evidence.counts_only) == (25, 1, 0)


def test_the_audit_reports_its_progress() -> None:
    class Ticket:
        shares: list[float] = []

        def check(self, done: float | None = None) -> None:
            self.shares += [] if done is None else [done]

    ticket = Ticket()
    audit(memory_store(), ticket)
    assert ticket.shares == sorted(ticket.shares)
    assert ticket.shares[-1] == 1


def test_scores() -> None:
    def finding(severity, path) -> Finding:
        return Finding("x", "x", severity, {}, "x", "x", path)

    def score(*findings: Finding) -> int:
        return AuditReport(4, findings).score

    assert score() == 100
    assert score(finding("info", "a"), finding("info", None)) == 100
    assert score(finding("warning", "a"), finding("warning", "a")) == 88
    assert score(finding("warning", "a"), finding("error", "a")) == 75
    assert score(finding("warning", None)) == 90
    assert score(*(finding("error", path) for path in "abcd"), finding("error", None)) == 0


def test_json_has_the_stable_fields_and_no_nan() -> None:
    report = judge(Evidence((replace(layer([3, 0, 2, 1]), nonfinite=2), layer([0, 0, 0, 0], 1)), complete=False))
    report = AuditReport(2, (*report.findings, Finding("x", "x", "info", {"y": {"z": [float("nan")]}}, "a", "b")))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["score"] == report.score
    for finding in data["findings"]:
        assert finding.keys() >= {"id", "severity", "layer", "expert", "evidence", "confidence", "advice"}
        assert finding["severity"] in ("info", "warning", "error")
    assert data["findings"][-1]["evidence"] == {"y": {"z": [None]}}
