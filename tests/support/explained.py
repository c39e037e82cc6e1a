"""Explanations of a captured token with numbers that add up, made without a model."""

import numpy as np

from moedesk.core.attribution import Attribution, Component, Counterfactual, TokenPlace, Why
from moedesk.core.store import Store


def components(blocks: int) -> tuple[Component, ...]:
    """An embedding, then an attention and an MoE block a layer."""
    named = [Component("embedding", "embedding", "model.embed_tokens")]
    for block in range(blocks):
        named.append(Component(f"attention {block}", "attention", f"model.layers.{block}.self_attn", block))
        named.append(Component(f"MoE {block}", "moe", f"model.layers.{block}.mlp", block))
    return tuple(named)


def place(store: Store, row: int) -> TokenPlace:
    """Where a token lies."""
    token = store.read_tokens(row, row + 1)[0]
    return TokenPlace(
        text=store.token_text([token["token_id"]])[0],
        token_id=int(token["token_id"]),
        index=int(token["column"]),
        row=row,
        pass_id=int(token["pass"]),
        stream="main",
    )


def why(store: Store, row: int, layer: int, seed: int = 0) -> Why:
    """Softmax over the logits, the k largest chosen."""
    rng = np.random.default_rng((seed, row, layer))
    info = store.model.layers[layer]
    parts = components(max(layer, 1))
    contributions = rng.normal(0, 1.2, (len(parts), info.experts))
    remainder = rng.normal(0, 1e-7, info.experts)
    logits = contributions.sum(0) + remainder
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    order = np.argsort(-scores)
    chosen = order[: info.top_k]
    return Why(
        token=place(store, row),
        layer=layer,
        path=info.path,
        score="softmax",
        logits=logits,
        transformed=scores,
        bias=np.zeros(info.experts),
        kept=np.ones(info.experts, bool),
        ranked=scores,
        chosen=chosen,
        weights=scores[chosen] / scores[chosen].sum(),
        runner_up=int(order[info.top_k]),
        margin=float(scores[order[info.top_k - 1]] - scores[order[info.top_k]]),
        components=parts,
        experts=np.arange(info.experts),
        explained=logits,
        contributions=contributions,
        remainder=remainder,
        tolerance=np.full(info.experts, 1e-5),
        model="TestMoe",
        dtype="float32",
        created="2026-11-23T05:00:00Z",
        notes=("norms are frozen at this token",),
    )


def attribution(store: Store, row: int, seed: int = 0) -> Attribution:
    """Effects of the experts that the store has of a token."""
    rng = np.random.default_rng((seed, row))
    layers = [layer for layer in store.model.layers if layer.stream == store.model.streams[0]]
    count, width = len(layers), max(layer.top_k for layer in layers)
    experts = np.array([store.experts(layer, row, row + 1)[0] for layer in layers], np.int64)
    weights = np.array([store.weights(layer, row, row + 1)[0] for layer in layers], np.float64)
    tables = {
        name: np.where(experts >= 0, rng.normal(0, 0.3, (count, width)), np.nan)
        for name in ("direct", "gradient", "ablation")
    }
    parts = tuple(part for part in components(count) if part.kind != "moe")
    direct = rng.normal(0, 0.4, len(parts))
    explained = float(np.nansum(tables["direct"]) + direct.sum())
    attention = rng.dirichlet(np.ones(12), (count, 4))
    return Attribution(
        token=place(store, row),
        target_id=7,
        target_text=" =",
        target="log-probability",
        method="direct",
        layers=np.array([layer.place for layer in layers]),
        experts=experts,
        weights=weights,
        norms=np.where(experts >= 0, rng.gamma(2, 1, (count, width)), np.nan),
        direct=tables["direct"],
        gradient=tables["gradient"],
        ablation=tables["ablation"],
        components=parts,
        component_norms=rng.gamma(2, 1, len(parts)),
        component_direct=direct,
        component_gradient=rng.normal(0, 0.2, len(parts)),
        gradient_norms=rng.gamma(2, 0.1, count),
        attention=attention,
        attention_blocks=np.arange(count),
        embedding_gradient_norms=rng.gamma(2, 0.1, 12),
        sum_errors=np.full(count, 1e-7),
        sum_tolerances=np.full(count, 1e-6),
        noise=1e-6,
        value=-2.5,
        logit=explained + 2e-6,
        explained=explained,
        tolerance=1e-5,
        model="TestMoe",
        dtype="float32",
        created="2026-11-23T05:00:00Z",
        notes=("the final norm's scale is frozen",),
    )


def counterfactual(store: Store, row: int, seed: int = 0) -> Counterfactual:
    """Four routes at each layer: the store's own, and three with another last expert."""
    rng = np.random.default_rng((seed, row))
    layers, experts, weights, own, losses, ranks = [], [], [], [], [], []
    for layer in store.model.layers:
        base = store.experts(layer, row, row + 1)[0].astype(np.int64)
        others = [expert for expert in range(layer.experts) if expert not in base][:3]
        loss = 2.25 + np.concatenate([[0.0], rng.normal(0.05, 0.1, len(others))])
        for number, expert in enumerate([None, *others]):
            route = base.copy()
            if expert is not None:
                route[-1] = expert
            layers.append(layer.place)
            experts.append(route)
            weights.append(store.weights(layer, row, row + 1)[0].astype(np.float64))
            own.append(number == 0)
        losses += loss.tolist()
        ranks.append(int((loss < loss[0]).sum()))
    count = len(ranks)
    return Counterfactual(
        token=place(store, row),
        next_id=5,
        next_text=" return",
        layers=np.array(layers),
        experts=np.array(experts),
        weights=np.array(weights),
        own=np.array(own),
        losses=np.array(losses),
        tried_layers=np.arange(count),
        ranks=np.array(ranks),
        whole_experts=rng.integers(0, 8, (6, count, len(experts[0]))),
        whole_losses=2.25 + rng.normal(0.1, 0.1, 6),
        noise=1e-6,
        model="TestMoe",
        dtype="float32",
        created="2026-11-23T05:00:00Z",
        notes=("routes keep the summed gate weight",),
    )
