"""The Elements panel's models, without a window: against sums by hand, torch and brute force."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest

from moedesk.analysis.load import LayerLoad
from moedesk.core.model import LayerInfo, ModelInfo, ModuleInfo
from moedesk.core.selection import Kind, Selection
from moedesk.core.verification import NEEDED, Check, LayerVerification, Verdict, Verification
from moedesk.panels.elements.model_expert import cells, expert_view, note, share_facts, table_text, why_empty
from moedesk.panels.elements.model_facts import as_python, facts, layer_facts, parameters, shapes, short_count
from moedesk.panels.elements.model_load import Scope, bars, idle_text, numbers, ratio_text
from moedesk.panels.elements.model_search import search_index
from moedesk.panels.elements.model_tree import NO_NODE, Outline, outline
from moedesk.session.jobs import Ticket
from tests.support.memory_store import memory_store


def module_list_model() -> ModelInfo:
    """A model whose experts are modules of their own, each with a part, and one shared expert."""
    layer = LayerInfo("block", "Block", 3, 1, shared=1, score="sigmoid", stream="encoder", experts_path="block.experts")
    modules = [
        ModuleInfo("", "Model", "Model", -1, parameters=100),
        ModuleInfo("block", "block", "Block", 0, "moe", 0, 0, 100, "float32", "cpu"),
        ModuleInfo("block.experts", "experts", "ModuleList", 1, "experts", 0, 0, 90),
    ]
    for number in range(3):
        modules.append(
            ModuleInfo(f"block.experts.{number}", str(number), "Mlp", 2, "expert", 0, 0, 30, "float32", "cpu")
        )
        modules.append(ModuleInfo(f"block.experts.{number}.w1", "w1", "Linear", len(modules) - 1, "linear", 0, 30, 30))
    modules.append(ModuleInfo("block.shared_expert", "shared_expert", "Mlp", 1, "shared", 0, 10, 10))
    return ModelInfo("m", "Model", (layer,), tuple(modules), parameters=100)


def stacked(layers: int = 3, experts: int = 8) -> Outline:
    return outline(memory_store(passes=1, layers=layers, experts=experts).model)


def test_stacked_experts_get_a_node_each_below_their_module() -> None:
    tree = stacked()
    assert len(tree) == len(tree.modules) + 3 * 8
    for layer in range(3):
        holder = next(
            node for node, module in enumerate(tree.modules) if module.path == f"model.layers.{layer}.mlp.experts"
        )
        below = tree.children[holder]
        assert [tree.name(node) for node in below] == [f"expert {number}" for number in range(8)]
        assert [tree.expert_node(layer, number) for number in range(8)] == below
        assert tree.path(below[3]) == f"model.layers.{layer}.mlp.experts[3]"
        assert tree.kind(below[3]) == "expert"


def test_experts_with_modules_of_their_own_get_no_second_node() -> None:
    tree = outline(module_list_model())
    assert len(tree) == len(tree.modules)
    assert [tree.path(tree.expert_node(0, number)) for number in range(3)] == [f"block.experts.{n}" for n in range(3)]
    # A part called w1 is no expert.
    part = [module.path for module in tree.modules].index("block.experts.0.w1")
    assert tree.expert[part] == NO_NODE
    assert [badge.text for badge in tree.badges(tree.expert_node(0, 2))] == ["expert 2"]


def test_a_capture_without_a_module_tree_shows_its_layers() -> None:
    model = replace(memory_store(passes=1).model, modules=())
    tree = outline(model)
    assert [tree.path(node) for node in tree.children[0]] == [info.path for info in model.layers]
    assert tree.expert_node(2, 7) in tree.children[tree.layer_node(2)]


def test_order_is_the_one_named_modules_uses_with_experts_after_the_modules_below() -> None:
    tree = stacked()
    order = [node for node in tree.order if not tree.is_virtual(node)]
    assert order == list(range(len(tree.modules)))
    assert sorted(tree.order) == list(range(len(tree)))
    for node in tree.order[1:]:
        assert tree.children[tree.parent[node]][tree.row[node]] == node


def test_badges_say_what_a_node_is() -> None:
    tree = outline(module_list_model())
    texts = {tree.path(node): [badge.text for badge in tree.badges(node)] for node in tree.order}
    assert texts["block"] == ["MoE 0", "3 experts · top-1", "sigmoid", "1 shared", "encoder"]
    assert texts["block.experts"] == ["3 experts"]
    assert texts["block.shared_expert"] == ["shared"]
    assert [badge.text for badge in stacked().badges(5)] == ["router", "softmax"]


def test_every_node_is_found_again_by_what_it_selects() -> None:
    for tree in (stacked(), outline(module_list_model())):
        for node in tree.order:
            assert tree.node(tree.selection(node)) == node


def test_selections_made_elsewhere_find_their_node() -> None:
    tree = stacked()
    assert tree.node(Selection(Kind.EXPERT, layer=1, expert=5)) == tree.expert_node(1, 5)
    assert tree.path(tree.node(Selection(Kind.LAYER, layer=2))) == "model.layers.2.mlp"
    assert tree.path(tree.node(Selection(Kind.PASS, pass_id=3, layer=1))) == "model.layers.1.mlp"
    assert tree.node(Selection(Kind.TOKEN, token=9, layer=1, expert=5)) == tree.expert_node(1, 5)
    assert tree.node(Selection(Kind.TOKEN, token=9)) == NO_NODE
    assert tree.node(Selection(Kind.LAYER, layer=99)) == NO_NODE
    assert tree.node(Selection(Kind.EXPERT, layer=1, expert=99)) == tree.layer_node(1)


def test_search_finds_what_a_plain_scan_finds() -> None:
    tree = stacked()
    index = search_index(tree)
    for text in ("gate", "LAYERS.1", "testdecoderlayer", "experts[3]", "router", "mlp expert", "nothing like it"):
        words = text.lower().split()
        expected = [
            node
            for node in tree.order
            if all(
                word
                in f"{tree.path(node)} {tree.name(node)} {tree.class_name(node)} "
                f"{' '.join(badge.text for badge in tree.badges(node))}".lower()
                for word in words
            )
        ]
        assert list(index.find(text).nodes) == expected, text
    assert len(index.find("gate")) == 3
    assert len(index.find("  ")) == 0


def test_next_and_previous_match_go_round() -> None:
    index = search_index(stacked())
    matches = index.find("gate")
    first, second, third = matches.places
    assert [matches.after(-1), matches.after(first), matches.after(third)] == [0, 1, 0]
    assert [matches.before(second), matches.before(first), matches.before(-1)] == [0, 2, 2]
    assert matches.count_text(second) == "2 of 3"
    assert matches.count_text(second + 1) == "3 matches"
    assert index.find("zzz").count_text(0) == "no match"
    assert index.find("zzz").after(0) == index.find("zzz").before(0) == NO_NODE


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (5_061_760, "5.06 M"),
        (999_999, "1 M"),
        (7_000_000_000, "7 B"),
        (671_026_419_200, "671 B"),
    ],
)
def test_short_counts(number: int, text: str) -> None:
    assert short_count(number) == text


def test_an_expert_without_a_module_has_its_slice_of_the_parameters() -> None:
    info = LayerInfo("b", "B", 4, 2, experts_path="b.e")
    holder = ModuleInfo(
        "b.e", "e", "Experts", 1, "experts", 0, 400, 400, "bfloat16", "cpu", "up 4×10×6, down 4×10×4, scale 3"
    )
    model = ModelInfo("m", "M", (info,), (ModuleInfo("", "M", "M", -1), ModuleInfo("b", "b", "B", 0, "moe", 0), holder))
    tree = outline(model)
    node = tree.expert_node(0, 2)
    assert parameters(tree, node) == 100
    assert shapes(tree, node) == "up[2] 10×6, down[2] 10×4"
    assert as_python(tree, node) == 'model.get_submodule("b.e").up[2]'
    values = {fact.label: fact.value for fact in facts(tree, node)}
    assert values["Memory"] == "200 bytes"
    assert "400" not in values["Parameters"]


def test_python_expressions_run() -> None:
    tree = outline(module_list_model())
    assert as_python(tree, 0) == "model"
    assert as_python(tree, tree.expert_node(0, 1)) == 'model.get_submodule("block.experts.1")'


def test_numbers_of_the_published_vector() -> None:
    """The vector V of the metric definitions: c = [4, 0, 2, 2]."""
    load = LayerLoad(LayerInfo("a", "A", 4, 2), np.array([4, 0, 2, 2]))
    values = {fact.label: fact.value for fact in numbers(load)}
    assert values == {
        "Slots": "8",
        "Tokens": "4",
        "CV (population)": "0.707",
        "MaxVio": "1.000",
        "Normalised entropy": "0.750",
        "Gini": "0.375",
    }
    assert all(fact.hint for fact in numbers(load))
    drawn = bars(load, by_load=False)
    assert drawn is not None
    assert drawn.ratios.tolist() == [2, 0, 1, 1]
    by_load = bars(load, by_load=True)
    assert by_load is not None
    assert by_load.experts.tolist() == [0, 2, 3, 1]
    assert by_load.counts.tolist() == [4, 2, 2, 0]
    assert [ratio_text(load, expert) for expert in range(4)] == ["2.00×", "no load", "1.00×", "1.00×"]


def test_experts_without_a_slot_are_called_dead_only_with_enough_slots() -> None:
    info = LayerInfo("a", "A", 4, 2)
    few = LayerLoad(info, np.array([4, 0, 2, 2]))
    assert "1 expert without a slot: 1. Not sampled enough" in idle_text(few)
    # The bound is where the chance of no hit at all is 5 %.
    many = LayerLoad(info, np.array([400, 0, 200, 200]))
    assert idle_text(many).startswith("1 expert dead: 1. ")
    bound = float(idle_text(many).split("below ")[1].split(" %")[0]) / 100
    assert comb(800, 0) * (1 - bound) ** 800 == pytest.approx(0.05, rel=0.05)
    assert idle_text(LayerLoad(info, np.array([1, 1, 1, 1]))) == ""
    assert idle_text(LayerLoad(info, np.zeros(4, int))) == ""


def test_dropped_slots_make_the_number_of_tokens_a_guess() -> None:
    load = LayerLoad(LayerInfo("a", "A", 2, 2), np.array([3, 2]))
    assert numbers(load)[1].value == "≈ 2.5"


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        (Scope(0, 20, 20, False, None), "Whole capture, 20 passes"),
        (Scope(3, 8, 20, True, None), "Passes 3–7 (brushed), 5 of 20 passes"),
        (Scope(0, 1, 20, False, 0), "Pass 0 (up to the replay cursor), 1 of 20 passes"),
        (Scope(3, 5, 20, True, 4), "Passes 3–4 (brushed, up to the replay cursor), 2 of 20 passes"),
        (Scope(2, 2, 20, True, 1), "No passes: the replay cursor (pass 1) stands before the brushed ones"),
        (Scope(0, 0, 0, False, None), "No passes recorded"),
    ],
)
def test_the_scope_says_which_passes_are_counted(scope: Scope, text: str) -> None:
    assert scope.text == text


def test_an_expert_against_counting_by_hand() -> None:
    store = memory_store(passes=30, seed=4)
    first, last, layer, expert = 5, 25, 1, 2
    slots = count = 0
    weights = []
    for token, ids, given in zip(store.read_tokens(), store.experts(layer), store.weights(layer), strict=True):
        if first <= token["pass"] < last and not token["is_padding"]:
            slots += int((ids >= 0).sum())
            count += int((ids == expert).sum())
            weights += given[ids == expert].tolist()
    view = expert_view(store, layer, expert, first, last, Ticket())
    values = {fact.label: fact.value for fact in share_facts(view)}
    assert values["Slots"] == f"{count} of {slots}"
    assert values["Share of slots"].startswith(f"{100 * count / slots:.2f} % (95 %: ")
    assert "Wilson" in values["Share of slots"]
    assert values["Load ÷ uniform"] == f"{count / slots * 8:.2f}×"
    assert values["Mean weight"] == f"{np.mean(weights):.3f}"
    assert sum(token.count for token in view.top.tokens) == count
    assert note(view) == ""


def test_what_the_table_leaves_out_is_said() -> None:
    store = memory_store(passes=30)
    view = expert_view(store, 0, 0, 0, 30, Ticket())
    few = replace(view, top=replace(view.top, tokens=view.top.tokens[:2], left_out=70))
    assert note(few).startswith(f"2 of {view.top.different} tokens shown. From an even sample of {view.top.rows} of ")
    hidden = replace(view, share=replace(view.share, count=view.share.count + 7))
    assert note(hidden).startswith("7 slots without a token")


def test_an_expert_nobody_chose_says_what_to_do() -> None:
    store = memory_store(passes=10)
    store.layers[0].experts[store.layers[0].experts == 7] = 0
    view = expert_view(store, 0, 7, 0, 10, Ticket())
    assert view.share.count == 0
    assert "Pick another expert" in why_empty(view)
    assert "Brush more passes" in why_empty(expert_view(store, 0, 7, 4, 4, Ticket()))


def test_white_space_is_made_visible_and_copied_as_text() -> None:
    store = memory_store(passes=30)
    view = expert_view(store, 0, 0, 0, 30, Ticket())
    shown = {token.text: cells(token)[0] for token in view.top.tokens}
    assert shown[" router"] == "␣router"
    assert shown["\n"] == "↵"
    lines = table_text(view).splitlines()
    assert len(lines) == len(view.top.tokens) + 1
    assert all(len(line.split("\t")) == 5 for line in lines)


def tree_tested(verdict: Verdict) -> Outline:
    """The tree of a model whose layer 1 was tested, with a replay that came to ``verdict``."""
    model = memory_store(passes=1, layers=3, experts=8).model
    checks = [Check(name, verdict if name == "replay" else Verdict.VERIFIED, f"why {name}") for name in NEEDED]
    layers = (LayerVerification(model.layers[1].path, model.layers[1].experts_path, tuple(checks)),)
    return outline(replace(model, verification=Verification("M", "2026", "2 rows", layers=layers)))


@pytest.mark.parametrize(
    ("verdict", "badge", "hint"),
    [
        (Verdict.VERIFIED, "✓ verified", "The self-test found that"),
        (Verdict.FAILED, "✗ failed", "replay: why replay"),
        (Verdict.NOT_CHECKED, "– not checked", "replay: why replay"),
    ],
)
def test_what_the_self_test_found_of_a_layer(verdict: Verdict, badge: str, hint: str) -> None:
    tree = tree_tested(verdict)
    badges = tree.badges(tree.layer_node(1))
    assert badges[1].text == badge
    assert badges[1].hint.startswith(hint)
    assert not any("verified" in other.text for other in tree.badges(tree.layer_node(0)))
    values = {fact.label: fact.value for fact in layer_facts(tree.model.layers[1], tree.model.verification)}
    assert values["Self-test"].splitlines()[0] == verdict
    assert "captured: why captured" in values["Self-test"]
    other = {fact.label: fact.value for fact in layer_facts(tree.model.layers[0], tree.model.verification)}
    assert other["Self-test"] == "this layer was not among those tested"


def test_a_model_that_was_never_tested_says_what_to_do() -> None:
    tree = stacked()
    assert {fact.label: fact.value for fact in facts(tree, 0)}["Self-test"] == "not verified yet: moe.verify()"
    model = {fact.label: fact.value for fact in facts(tree_tested(Verdict.FAILED), 0)}
    assert model["Self-test"].startswith("FAILED in 1 of 1 layers · model.layers.1.mlp: replay")
