"""The co-activation of a layer as a matrix, and of an expert's friends as a graph."""

import numpy as np

from moedesk.analysis.expert.friends import FORMULAS, Floats, Friendship, friends, friendship
from moedesk.panels.experts.model_survey import SurveyView, number
from moedesk.ui.graph import GraphEdge, GraphNode

RING = 8
"""Friends around the expert."""


def matrix(view: SurveyView, convention: Friendship) -> tuple[Floats, str]:
    """Return (E, E) values, and the format of what is said of a cell."""
    layer = view.choice.layer
    joint = "{row} → {column}" if convention == "directed" else "{row} and {column}"
    return friendship(
        view.survey, convention
    ), f"Experts of layer {layer}: {joint}: {{value:.3g}}. Click for expert {{row}}."


def matrix_caption(view: SurveyView, convention: Friendship, factor: int) -> str:
    """Return the convention, and what was reduced."""
    if view.survey.layer.top_k < 2:
        return "Each token has one expert here (top-1): there are no pairs."
    text = f"Row i, column j: {FORMULAS[convention]}. This expert's row and column are framed; empty: the same expert"
    text += ", or a pair expected on fewer than 20 tokens." if convention == "lift" else ", or one without a token."
    if factor > 1:
        text += f" A cell is the largest of {factor} × {factor} pairs."
    return f"{text} From {view.survey.sample}."


def graph(view: SurveyView, convention: Friendship) -> tuple[tuple[GraphNode, ...], tuple[GraphEdge, ...]]:
    """Return the expert with its strongest friends, and the bonds between all of these."""
    layer, expert = view.choice.layer, view.choice.expert
    found = friends(view.survey, expert, convention, RING)
    if not found:
        return (), ()
    shown = [expert, *(friend.expert for friend in found)]
    values = friendship(view.survey, convention)[np.ix_(shown, shown)]
    strongest = float(np.nanmax(values))
    nodes = tuple(
        GraphNode(
            str(one),
            one,
            f"Expert {layer}.{one}: {view.survey.alone[one]:,} of {view.survey.tokens:,} tokens",
            (layer, one),
        )
        for one in shown
    )
    edges = []
    for a in range(len(shown)):
        for b in range(a + 1, len(shown)):
            # A directed share has two ends: of the expert in the middle its own, of two others the larger.
            value = values[a, b] if a == 0 else np.fmax(values[a, b], values[b, a])
            if np.isfinite(value) and value > 0:
                together = int(view.survey.together[shown[a], shown[b]])
                pair = f"{layer}.{shown[a]} – {layer}.{shown[b]}"
                hint = f"{pair}: {number(float(value), convention)}, {together:,} tokens have both"
                edges.append(GraphEdge(a, b, float(value) / strongest, hint))
    return nodes, tuple(edges)


def graph_caption(view: SurveyView, convention: Friendship) -> str:
    """Return what thickness means, and what was left out."""
    if not view.tokens or view.survey.layer.top_k < 2:
        return "No token of this expert has another one."
    other = " (between two friends the larger of both ways)" if convention == "directed" else ""
    return (
        f"The {RING} strongest friends, clockwise from the top; thickness: {FORMULAS[convention]}{other}. "
        f"From {view.survey.sample}."
    )
