"""What the Audits panel shows, without a window, against the report and the capture themselves."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moedesk.analysis.audit import audit
from moedesk.analysis.finding import AuditReport, Finding, Reveal
from moedesk.capture.open import open_capture
from moedesk.capture.writer import CaptureWriter
from moedesk.core.columns import STEP
from moedesk.core.filter import parse
from moedesk.core.resources import resource
from moedesk.core.selection import NOTHING, Kind, Selection
from moedesk.panels.audits.model import Audited, left_out, nothing_text, run_audit, run_label, summary
from moedesk.panels.audits.model_evidence import evidence_lines, name_of, percent, value_text
from moedesk.panels.audits.model_findings import Criteria, Entry, Quiet, entries_of, grouped, quiet_groups
from moedesk.panels.audits.model_scores import scores_of
from moedesk.panels.audits.model_targets import Target, doors, target_of
from moedesk.panels.audits.model_text import as_json, as_text
from moedesk.session.jobs import Cancelled, Ticket
from moedesk.session.panel import PanelSpec
from tests.support.memory_store import memory_store
from tests.support.routing import random_batch, random_model


@pytest.fixture(scope="module")
def sick() -> Audited:
    with open_capture(resource("sample", "tinymoe-sick.h5")) as capture:
        return run_audit(capture, Ticket())


def finding(**changes: object) -> Finding:
    plain = Finding("x", "Something", "warning", {}, "Do it", "ours")
    return replace(plain, **changes)  # type: ignore[arg-type]


def entry(number: int, **changes: object) -> Entry:
    found = finding(**changes)
    return Entry(number, found, found.category, None if found.layer is None else int(found.layer), found.title.lower())


def test_an_audit_in_the_app_is_the_audit_of_the_command(sick: Audited) -> None:
    with open_capture(resource("sample", "tinymoe-sick.h5")) as capture:
        assert sick.report == audit(capture)
        assert (sick.passes, sick.tokens) == (capture.n_passes, capture.n_tokens())
        assert json.loads(as_json(sick)) == audit(capture).to_json()
    assert f"{len(sick.report.findings)} findings in {sick.passes} passes" in summary(sick)


def test_entries_say_where(sick: Audited) -> None:
    places = {layer.path: layer.place for layer in sick.model.layers}
    for shown, found in zip(entries_of(sick), sick.report.findings, strict=True):
        assert shown.finding is found
        if found.layer is not None:
            assert shown.place == places[found.layer]
        if found.expert is not None:
            assert shown.where == f"expert {shown.place}.{found.expert}"


def test_the_dead_experts_are_found_by_their_number(sick: Audited) -> None:
    entries = entries_of(sick)
    dead = [one for one in entries if Criteria(text="dead 1.11").takes(one)]
    assert [(one.place, one.finding.expert) for one in dead] == [(1, 11)]
    assert [one for one in entries if Criteria(text="no such words").takes(one)] == []


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        (Criteria(), [0, 1, 2, 3]),
        (Criteria(severities=frozenset({"error"})), [1]),
        (Criteria(category="router"), [2]),
        (Criteria(layer=3), [1, 2]),
        (Criteria(layer=-1), [0]),
        (Criteria(text="TWO"), [2]),
        (Criteria(severities=frozenset({"warning"}), layer=3), [2]),
    ],
)
def test_criteria(criteria: Criteria, numbers: list[int]) -> None:
    entries = (
        entry(0, severity="info", title="Zero"),
        entry(1, severity="error", title="One", layer="3"),
        entry(2, title="Two", layer="3", category="router"),
        entry(3, title="Three", layer="5"),
    )
    assert [one.number for one in entries if criteria.takes(one)] == numbers


def test_groups_and_their_order() -> None:
    entries = (
        entry(0, severity="info", category="data", title="b"),
        entry(1, severity="error", layer="3", title="c", confidence=0.5),
        entry(2, severity="warning", layer="3", category="router", title="a", confidence=0.9),
        entry(3, severity="error", layer="1", title="d", confidence=0.7),
    )

    def numbers(*arguments: object) -> list[list[int]]:
        return [[one.number for one in group.entries] for group in grouped(entries, *arguments)]  # type: ignore[arg-type]

    assert numbers("severity") == [[1, 3], [2], [0]]
    assert numbers("category") == [[1, 3], [2], [0]], "the worst finding first"
    assert numbers("layer", "severity") == [[0], [3], [1, 2]], "the whole capture, then the model's order"
    assert numbers("layer", "confidence") == [[0], [3], [1, 2]]
    assert numbers("severity", "confidence", True) == [[3, 1], [2], [0]]
    assert numbers("severity", "title", True) == [[3, 1], [2], [0]]
    assert numbers("severity", "where") == [[3, 1], [2], [0]]
    assert [group.title for group in grouped(entries, "severity")] == [
        "Errors (2)",
        "Warnings (1)",
        "Worth knowing (1)",
    ]


@pytest.mark.parametrize(
    ("selection", "about"),
    [
        (NOTHING, []),
        (Selection(Kind.LAYER, layer=3), [0, 1]),
        (Selection(Kind.EXPERT, layer=3, expert=7), [0, 1]),
        (Selection(Kind.EXPERT, layer=3, expert=8), [0]),
        (Selection(Kind.PASS, pass_id=2, layer=3), []),
    ],
)
def test_findings_about_what_is_selected(selection: Selection, about: list[int]) -> None:
    entries = (entry(0, layer="3"), entry(1, layer="3", expert=7), entry(2, layer="4", expert=7), entry(3))
    assert [one.number for one in entries if one.is_about(selection)] == about


def test_evidence_is_told_with_names_and_units(sick: Audited) -> None:
    dead = next(found for found in sick.report.findings if found.id == "dead-expert")
    lines = {line.name: line for line in evidence_lines(dead, sick.model)}
    assert lines["Slots of the expert"].value == "0"
    assert lines["Even share"].value == f"{100 / sick.model.layers[1].experts:.4g} %"
    assert lines["Slots of the layer"].unit.startswith("slots = tokens × top-k")
    assert all(line.target is not None and line.target.panel == "elements" for line in lines.values())


def test_what_is_told_layer_by_layer_opens_that_layer(sick: Audited) -> None:
    found = finding(evidence={"unseen_experts": {sick.model.layers[2].path: [3, 4]}, "by_name": {"python": 3}})
    first, second = evidence_lines(found, sick.model)
    assert (first.name, first.value) == ("Experts not seen, layer 2", "3, 4")
    assert first.target is not None
    assert first.target.selection == Selection(Kind.LAYER, layer=2)
    assert (second.name, second.value, second.target) == ("By name, python", "3", None)


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        (0.9985, "share_of_tokens", "99.85 %"),
        (0.99999, "share_of_tokens", "99.999 %"),
        (7.11e-05, "share_upper_bound_95", "0.00711 %"),
        ([0.1, 0.25], "interval_95", "10 % – 25 %"),
        (1234567, "slots", "1,234,567"),
        (None, "x", "unknown"),
        (True, "x", "yes"),
        (1.5, "x", "1.5"),
        (list(range(14)), "experts", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"),
        ([], "experts", "none"),
        ("softmax", "margin_score", "softmax"),
    ],
)
def test_values(value: object, key: str, text: str) -> None:
    assert value_text(value, key) == text


def test_a_share_is_never_rounded_to_all_or_nothing() -> None:
    assert percent(0.99996) not in ("100 %", "99.99 %")
    assert percent(1e-9) != "0 %"
    assert (percent(0.0), percent(1.0)) == ("0 %", "100 %")


def test_names_that_no_table_knows_are_read_as_words() -> None:
    assert name_of("touched_weights_bytes") == ("Touched weights", "bytes")
    assert name_of("entropy_first_part_nats") == ("Entropy first part", "nats")


def test_targets(sick: Audited) -> None:
    model = sick.model
    path = model.layers[3].path
    plain = target_of(finding(layer=path, expert=5), model)
    assert plain == Target("elements", Selection(Kind.EXPERT, layer=3, expert=5))
    filtered = target_of(finding(layer=path, reveal=Reveal("network", layer=3, filter="is:dropped")), model)
    assert filtered is not None
    assert filtered.filter == "layer:3 is:dropped"
    brushed = target_of(finding(reveal=Reveal("waterfall", layer=1, first_pass=10, last_pass=20)), model)
    assert brushed == Target("waterfall", Selection(Kind.LAYER, layer=1), "", (10, 20))
    single = target_of(finding(reveal=Reveal("network", first_pass=10)), model)
    assert single == Target("network", Selection(Kind.PASS, pass_id=10))
    token = target_of(finding(reveal=Reveal("network", layer=1, token=7)), model)
    assert token is not None
    assert token.selection == Selection(Kind.TOKEN, layer=1, token=7)
    assert target_of(finding(), model) is None


def test_every_finding_of_the_sick_sample_opens_somewhere_and_its_filter_parses(sick: Audited) -> None:
    for found in sick.report.findings:
        target = target_of(found, sick.model)
        assert target is not None
        parse(target.filter)


def test_doors_lead_to_panels_that_are_there() -> None:
    specs = [PanelSpec("network", "Network", ""), PanelSpec("elements", "Elements", "")]
    expert = Selection(Kind.EXPERT, layer=1, expert=2)
    found = doors(Target("elements", expert), specs)
    assert [target.panel for target in found] == ["elements", "network"]
    assert [target.panel for target in doors(Target("experts", expert), specs)] == ["network", "elements"]
    filtered = doors(Target("network", expert, "is:dropped"), specs)
    assert [target.filter for target in filtered] == ["is:dropped", ""]
    assert doors(None, specs) == []


def test_scores(sick: Audited) -> None:
    total, *others = scores_of(sick.report)
    assert total.value == sick.report.score
    assert {score.key for score in others} == set(sick.report.categories)
    by_key = {score.key: score for score in others}
    assert by_key["load"].value is not None
    assert by_key["load"].value < 90
    assert by_key["load"].word in ("fair", "poor")
    assert (scores_of(AuditReport(1, ()))[0].value, scores_of(AuditReport(1, ()))[0].word) == (100, "good")


def test_checks_without_findings_are_passed_or_not_judged(sick: Audited) -> None:
    found = {one.id for one in sick.report.findings}
    assert {outcome.id for outcome in sick.report.outcomes if outcome.findings} == found
    passed, unjudged = quiet_groups(sick.report.outcomes, Criteria())
    assert len(passed.entries) + len(unjudged.entries) == len(sick.report.outcomes) - len(found)
    assert passed.title == f"{len(passed.entries)} checks found nothing"
    assert "no training steps" in " ".join(row.why for row in unjudged.entries if isinstance(row, Quiet))
    assert all(row.text("severity") == "Not judged" for row in unjudged.entries)
    assert quiet_groups(sick.report.outcomes, Criteria(layer=1)) == ()
    assert [group.key for group in quiet_groups(sick.report.outcomes, Criteria(category="training"))] == ["not judged"]
    training = next(score for score in scores_of(sick.report) if score.key == "training")
    assert (training.value, training.word) == (None, "not judged"), "the sample was not recorded in training"


def test_a_training_run_is_judged() -> None:
    steps = np.zeros(8, STEP)
    steps["step"] = np.arange(8)
    steps["loss"] = 1.0
    store = memory_store()
    store.steps = steps
    report = audit(store)
    lacks = {outcome.id: outcome.lacks for outcome in report.outcomes}
    assert lacks["bad-loss"] == ""
    assert lacks["domain-on-one-expert"].startswith("no labels")


def test_text_has_every_finding_with_its_advice(sick: Audited) -> None:
    text = as_text(sick, entries_of(sick))
    for found in sick.report.findings:
        assert found.title in text
        assert found.advice.split(":")[0].split(",")[0][:30] in text
    assert f"Total {sick.report.score}" in text


def test_what_the_button_says(sick: Audited) -> None:
    assert run_label(None, 5) == "Run audit"
    assert run_label(sick, sick.passes) == "Audit again"
    assert run_label(sick, sick.passes + 1) == "Audit again: 1 new pass"
    assert run_label(sick, sick.passes + 1200) == "Audit again: 1,200 new passes"
    assert nothing_text(3).startswith("None of 3 findings")


def test_what_is_left_out_is_said(sick: Audited) -> None:
    assert left_out(replace(sick, notes=())) == sick.report.notes
    short = replace(sick, counts_only=7, sampled=0, failed=2, notes=("the byte budget was reached",))
    lines = left_out(short)
    assert lines[0].startswith(f"Of 7 of {sick.passes} passes only counts were kept")
    assert lines[1].startswith("2 passes raised an error")
    assert lines[-1] == "the byte budget was reached"


def test_an_audit_can_be_cancelled() -> None:
    ticket = Ticket()
    ticket.cancel()
    with pytest.raises(Cancelled):
        run_audit(memory_store(), ticket)


def test_a_growing_store_is_audited_as_it_is_at_one_moment(tmp_path: Path) -> None:
    model = random_model(layers=2)
    with CaptureWriter(tmp_path / "live.h5") as writer, closing(writer.live()) as live:
        writer.describe(model)
        for number in range(4):
            writer.append(random_batch((1, number), model, 30))
        writer.flush()
        live.publish()
        moment = live.snapshot()
        before = moment.window_counts()
        writer.append(random_batch((1, 4), model, 30))
        writer.flush()
        live.publish()
        assert (live.n_passes, moment.n_passes, moment.n_tokens()) == (5, 4, 120)
        assert all((now == then).all() for now, then in zip(moment.window_counts(), before, strict=True))
        audited = run_audit(live, Ticket())
        assert (audited.passes, audited.tokens) == (5, 150)
        assert not any(found.id == "incomplete" for found in audited.report.findings), "it goes on"
