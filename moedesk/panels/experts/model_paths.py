"""The paths of an expert's tokens through the layers around, as flows."""

from dataclasses import dataclass

from moedesk.analysis.expert.paths import NONE, OTHERS, PathNode, Paths, paths
from moedesk.core.store import Store
from moedesk.panels.experts.model_choice import Choice
from moedesk.session.jobs import Ticket
from moedesk.ui.flow import Flow, FlowPicture, Node

REACHES = (1, 2, 3, 4)
NAMED = 6


@dataclass(frozen=True)
class PathsView:
    """The paths of one expert's tokens."""

    choice: Choice
    paths: Paths


def paths_view(store: Store, choice: Choice, reach: int, ticket: Ticket) -> PathsView:
    """Read the first choices of an expert's tokens at the layers around."""
    found = paths(store, choice.layer, choice.expert, choice.first, choice.last, reach, NAMED, ticket)
    return PathsView(choice, found)


def flow_picture(view: PathsView) -> FlowPicture:
    """Return columns of layers with flows of tokens."""
    found = view.paths
    if not found.tokens:
        return FlowPicture((), (), ())
    columns = tuple(tuple(_node(node, found) for node in column) for column in found.columns)
    titles = tuple(f"Layer {column[0].layer}" for column in found.columns)
    flows = tuple(
        Flow(
            flow.column,
            flow.source,
            flow.target,
            flow.tokens,
            f"{_name(found.columns[flow.column][flow.source])} → {_name(found.columns[flow.column + 1][flow.target])}: "
            f"{flow.tokens:,} of {found.tokens:,} tokens ({100 * flow.tokens / found.tokens:.1f} %)",
        )
        for flow in found.flows
    )
    return FlowPicture(titles, columns, flows)


def paths_caption(view: PathsView) -> str:
    """Return the convention, what is bundled, and the sample."""
    found, name = view.paths, view.choice.name
    rows = f"{found.rows:,} token rows"
    rows = (
        f"an even sample of {found.rows:,} of {found.rows + found.left_out:,} token rows"
        if found.left_out
        else f"all {rows}"
    )
    if not found.tokens:
        return f"No token has {name} as its first choice in {rows}. Pick another expert, or look at more passes."
    return (
        f"The {found.tokens:,} tokens whose first choice (largest weight) is {name}, and their first choices at the layers "
        f"around; thickness: tokens. Beyond the {NAMED} most frequent experts of a layer all others are one "
        f"block. From {rows}, padding left out."
    )


def _name(node: PathNode) -> str:
    if node.expert == OTHERS:
        return f"{node.experts} others"
    return "none" if node.expert == NONE else f"{node.layer}.{node.expert}"


def _node(node: PathNode, found: Paths) -> Node:
    share = node.tokens / found.tokens
    lift = f"{node.tokens / node.chance:.1f}×" if node.chance else "–"
    what = {
        OTHERS: f"{node.experts} further experts of layer {node.layer}",
        NONE: f"No expert at layer {node.layer}",
    }.get(node.expert, f"Expert {node.layer}.{node.expert}")
    hint = f"{what}: {node.tokens:,} of {found.tokens:,} tokens ({100 * share:.1f} %), {lift} what its share of all tokens gives"
    known = node.expert >= 0
    return Node(
        f"{_name(node)}  {100 * share:.0f} %",
        node.tokens,
        hint,
        (node.layer, node.expert) if known else None,
        node.expert if known else None,
    )
