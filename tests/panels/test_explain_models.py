"""What the pages of the Explain tab say, against the numbers themselves."""

from dataclasses import replace
from itertools import pairwise
from math import nan

import numpy as np
import pytest

from moedesk.core.selection import Kind, Selection
from moedesk.panels.network import model_attribution, model_explain, model_other_routes, model_why
from tests.support import explained
from tests.support.memory_store import memory_store

ROW, LAYER = 26, 2
STORE = memory_store(layers=3, experts=8, top_k=3)
WHY = explained.why(STORE, ROW, LAYER)
ATTRIBUTION = explained.attribution(STORE, ROW)
ROUTES = explained.counterfactual(STORE, ROW)


def test_the_chosen_experts_come_first_then_the_one_that_missed() -> None:
    order = np.argsort(-WHY.ranked).tolist()
    assert [expert for expert, _ in model_why.ranking(WHY)] == order[:7]
    assert [state for _, state in model_why.ranking(WHY)] == ["chosen"] * 3 + ["missed"] + [""] * 3
    bars = model_why.bars(WHY)
    assert [bar.length for bar in bars] == pytest.approx(
        [WHY.ranked[expert] / WHY.ranked.max() for expert in order[:7]]
    )
    line = model_why.threshold(WHY)
    assert line is not None
    assert bars[3].length < line < bars[2].length  # type: ignore[operator]
    assert model_why.headline(WHY).endswith(
        f"sent it to {', '.join(map(str, order[:3]))}; expert {order[3]} missed by {WHY.margin:.4g}, the margin in that score."
    )


def test_bars_of_negative_scores_begin_at_the_lowest_of_all() -> None:
    why = replace(WHY, ranked=WHY.logits - 10, transformed=WHY.logits)
    bars = model_why.bars(why)
    assert (why.ranked < 0).all()
    assert bars[0].length == pytest.approx((why.ranked.max() - why.ranked.min()) / -why.ranked.min())
    assert f"lowest of all experts, {why.ranked.min():.3g}" in model_why.legend(why)


def test_a_ranking_that_is_unknown_falls_back_on_the_logits_and_says_so() -> None:
    unknown = np.full(8, nan)
    why = replace(WHY, ranked=unknown, transformed=unknown, bias=unknown, margin=nan, score="")
    assert [e for e, _ in model_why.ranking(why)][:3] == np.argsort(-WHY.logits)[:3].tolist()
    assert "what was ranked is unknown" in model_why.legend(why)
    assert "by how much is unknown" in model_why.headline(why)
    assert [name for name, _ in model_why.facts(why, 0)] == ["expert", "logit", "gate weight"]


def test_groups_and_bias_are_shown_where_there_are_some() -> None:
    kept = np.arange(8) < 6
    why = replace(WHY, bias=np.linspace(0, 0.7, 8), kept=kept, ranked=np.where(kept, WHY.ranked, -np.inf))
    facts = dict(model_why.facts(why, 7))
    assert (facts["bias added for the choice"], facts["its group"], facts["ranked score"]) == (
        "+0.7000",
        "left out",
        "-inf",
    )
    assert "2 experts left out with their groups" in model_why.legend(why)
    assert "bias" not in " ".join(name for name, _ in model_why.facts(WHY, 7))


@pytest.mark.parametrize("by_size", [False, True])
def test_the_terms_add_up_to_the_dot_product(by_size: bool) -> None:
    for expert, other in ((0, None), (3, 5)):
        terms = model_why.terms(WHY, expert, other, by_size)
        expected = WHY.explained[expert] - (0 if other is None else WHY.explained[other])
        assert [term.kind for term in terms[-2:]] == ["remainder", "sum"]
        assert len(terms) == len(WHY.components) + 2
        for before, after in pairwise(terms[:-1]):
            assert after.start == before.end
        assert terms[-2].end == pytest.approx(expected, abs=1e-9)
        assert (terms[-1].start, terms[-1].end) == (0, expected)
        if by_size:
            sizes = [abs(term.end - term.start) for term in terms[:-2]]
            assert sizes == sorted(sizes, reverse=True)


def test_a_remainder_beyond_rounding_is_said() -> None:
    assert model_why.verdict(WHY, 0)[0]
    broken = replace(WHY, remainder=WHY.remainder + 1e-3)
    fine, line = model_why.verdict(broken, 0)
    assert not fine
    assert line.startswith("They do NOT add up: remainder 1.0e-03")
    assert model_why.verdict(broken, 0, 1)[0], "it cancels in the difference"


def test_what_decided_between_two_experts() -> None:
    first, second = model_why.default_pair(WHY)
    chosen = [expert for expert, state in model_why.ranking(WHY) if state == "chosen"]
    assert (first, second) == (chosen[-1], WHY.runner_up)
    assert second is not None
    difference = WHY.contributions[:, first] - WHY.contributions[:, second]
    name = WHY.components[int(np.argmax(difference))].name
    assert f"most by {name} ({difference.max():+.3f})" in model_why.decided(WHY, first, second)
    assert model_why.decided(WHY, second, first) == model_why.decided(WHY, first, second)


def test_only_experts_whose_logit_was_split_are_offered() -> None:
    some = np.array([int(WHY.chosen[0]), 6])
    why = replace(WHY, experts=some, explained=WHY.explained[some], contributions=WHY.contributions[:, some])
    why = replace(why, remainder=WHY.remainder[some], tolerance=WHY.tolerance[some])
    assert {expert for expert, _ in model_why.offered(why)} == set(some.tolist())
    assert model_why.default_pair(why)[0] == WHY.chosen[0]


def test_rows_of_an_attribution() -> None:
    rows = model_attribution.rows(ATTRIBUTION)
    slots = [row for row in rows if row.expert >= 0]
    assert len(slots) == int((ATTRIBUTION.experts >= 0).sum())
    keys = [quantity.key for quantity in model_attribution.QUANTITIES]
    for row in slots:
        place = ATTRIBUTION.layers.tolist().index(row.layer)
        assert row.expert == ATTRIBUTION.experts[place, row.slot]
        assert row.values == tuple(getattr(ATTRIBUTION, key)[place, row.slot] for key in keys)
    others = [row for row in rows if row.expert < 0]
    assert [row.name for row in others] == [component.name for component in ATTRIBUTION.components]
    direct = keys.index("direct")
    total = sum(row.values[direct] for row in rows)
    assert total == pytest.approx(ATTRIBUTION.explained), "all that adds up is listed"


def test_order_by_size_has_unknown_values_last() -> None:
    rows = model_attribution.rows(ATTRIBUTION)
    column = [quantity.key for quantity in model_attribution.QUANTITIES].index("ablation")
    for descending in (False, True):
        found = model_attribution.ordered(rows, column, descending)
        known = [abs(row.values[column]) for row in found if row.values[column] == row.values[column]]
        assert known == sorted(known, reverse=descending)
        assert all(row.expert < 0 for row in found[len(known) :]), "no ablation of what is no expert's"
    assert model_attribution.ordered(rows, -1, False) == rows


def test_the_residual_is_always_said() -> None:
    fine, lines = model_attribution.verdict(ATTRIBUTION)
    assert fine
    assert "residual +2.0e-06, rounding explains 1.0e-05." in lines
    fine, lines = model_attribution.verdict(replace(ATTRIBUTION, logit=0.0, explained=-1.0))
    assert not fine
    assert "residual +1.0e+00, NOT complete" in lines
    fine, lines = model_attribution.verdict(replace(ATTRIBUTION, method="ablation", tolerance=nan, explained=-1.5))
    assert fine
    assert "residual -1.0e+00, which this method need not explain" in lines
    fine, lines = model_attribution.verdict(replace(ATTRIBUTION, sum_errors=ATTRIBUTION.sum_errors + 1))
    assert not fine
    assert "NOT at layers 0, 1, 2" in lines


def test_units_follow_the_target() -> None:
    direct, effect = model_attribution.QUANTITIES[2], model_attribution.QUANTITIES[-1]
    assert ", in nats;" in model_attribution.convention(effect, ATTRIBUTION)
    assert "in logits, whatever the target" in model_attribution.convention(direct, ATTRIBUTION)
    logit = replace(ATTRIBUTION, target="logit")
    assert ", in logits;" in model_attribution.convention(effect, logit)
    assert model_attribution.headline(logit).startswith("Logit of “·=” after")


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    without = replace(ATTRIBUTION, ablation=np.full_like(ATTRIBUTION.ablation, nan))
    assert [quantity.key for quantity in model_attribution.shown(without)] == ["weights", "norms", "direct", "gradient"]
    none = replace(ATTRIBUTION, gradient_norms=np.zeros(0), norms=np.zeros((0, 0)))
    assert np.isnan(model_attribution.rows(none)[0].values[1])


def test_attention_is_the_mean_over_heads() -> None:
    means = model_attribution.attention_means(ATTRIBUTION)
    np.testing.assert_allclose(means.sum(1), 1)
    text = model_attribution.attention_text(ATTRIBUTION, 1, 4, ["a", "b", "c", "d", " e"])
    head = int(ATTRIBUTION.attention[1, :, 4].argmax())
    assert text.startswith(f"attention 1 to token 4 “·e”: {means[1, 4]:.3f}, the mean of 4 heads; most in head {head}:")


def test_gradients_of_the_tokens_that_were_seen() -> None:
    norms = ATTRIBUTION.embedding_gradient_norms
    assert model_attribution.seen_gradients(ATTRIBUTION).tolist() == [norms.tolist()]
    assert model_attribution.seen_text(ATTRIBUTION, 1, ["a", "b"]).endswith(
        f"“b”: ‖∂target/∂embedding‖₂ = {norms[1]:.4g}"
    )
    assert not model_attribution.seen_gradients(replace(ATTRIBUTION, embedding_gradient_norms=np.zeros(0))).size


def test_routes_are_listed_with_what_they_change() -> None:
    for layer in range(3):
        mine = ROUTES.layers == layer
        own = ROUTES.losses[mine & ROUTES.own][0]
        routes = model_other_routes.routes(ROUTES, layer)
        assert [route.loss for route in routes] == sorted(ROUTES.losses[mine].tolist())
        assert [route.change for route in routes] == pytest.approx([route.loss - own for route in routes])
        assert [route.own for route in routes].index(True) == ROUTES.ranks[layer]
        base = set(ROUTES.experts[mine & ROUTES.own][0].tolist())
        for route in routes:
            if not route.own:
                new, gone = route.experts.split(" for ")
                assert int(new) not in base
                assert int(gone) in base


def test_regret_is_what_the_routers_choice_cost() -> None:
    regrets = model_other_routes.regrets(ROUTES)
    for each in regrets:
        mine = ROUTES.layers == each.layer
        own = ROUTES.losses[mine & ROUTES.own][0]
        assert each.regret == pytest.approx(own - ROUTES.losses[mine].min())
        assert (each.regret == 0) == (each.rank == 0)
    bars = model_other_routes.bars(ROUTES)
    assert max(bar.length for bar in bars) in (0.0, 1.0)  # type: ignore[type-var]
    best = sum(each.rank == 0 for each in regrets)
    assert f"is the best of those tried at {best} of 3 layers" in model_other_routes.headline(ROUTES)
    nothing = {
        name: getattr(ROUTES, name)[:0] for name in ("layers", "losses", "own", "tried_layers", "ranks", "whole_losses")
    }
    empty = replace(ROUTES, **nothing, noise=nan)
    assert model_other_routes.whole(empty) == ""
    assert "No other route" in model_other_routes.headline(empty)


def test_whole_routes_are_counted() -> None:
    better = sum(loss < ROUTES.loss for loss in ROUTES.whole_losses.tolist())
    said = model_other_routes.whole(ROUTES)
    assert said.startswith("Of 6 whole routes")
    assert f" {better} have a lower loss" in said
    assert f"the best {ROUTES.whole_losses.min() - ROUTES.loss:+.4f} nats" in said
    assert "differ by up to 1.0e-06 nats" in said


def test_what_was_explained_is_listed_once_the_newest_first() -> None:
    older = replace(WHY, created="2026-11-22T05:00:00Z")
    elsewhere = replace(ROUTES, token=replace(ROUTES.token, row=10**6))
    nowhere = replace(ROUTES, token=replace(ROUTES.token, row=-1))
    listed = model_explain.stored([older, ATTRIBUTION, elsewhere, nowhere, WHY], "main", STORE.n_tokens())
    assert [each.kind for each in listed] == [type(WHY), type(ATTRIBUTION)]
    assert listed[0].selection == Selection(Kind.TOKEN, pass_id=WHY.token.pass_id, layer=LAYER, token=ROW)
    assert listed[1].selection.layer is None
    marked = replace(WHY, token=replace(WHY.token, text="<b>"))
    assert "&lt;b&gt;" in model_explain.links(model_explain.stored([marked], "main", 99))
    many = [replace(WHY, layer=layer) for layer in range(40)]
    assert model_explain.links(model_explain.stored(many, "main", 99)).endswith("and 10 older ones")
    assert model_explain.links([]) == ""


def test_times_and_sentences() -> None:
    assert model_explain.when("2026-11-23T06:21:02+01:00") == "2026-11-23 05:21:02 UTC"
    assert model_explain.when("") == "at a time that is unknown"
    assert model_explain.sentences(("a norm is frozen", "", "It adds up.")) == "A norm is frozen.\nIt adds up."


@pytest.mark.parametrize(
    ("typed", "target"),
    [("", None), ("17", 17), (" 17 ", 17), (" Paris", " Paris"), ('"17"', "17"), ('" a"', " a"), ('"', '"')],
)
def test_targets_as_they_are_typed(typed: str, target: object) -> None:
    assert model_attribution.target_of(typed) == target
