"""Overrides as Python that does the same without moedesk: plain torch, to be pasted where ``model`` is."""

from collections.abc import Iterable, Sequence

from moedesk.core.model import WATCHED, LayerInfo, ModelInfo
from moedesk.core.override import Override, OverrideKind

_ROUTING = {OverrideKind.ABLATE, OverrideKind.SCALE, OverrideKind.SWAP, OverrideKind.CAPACITY}
_WEIGHTS = {OverrideKind.ABLATE, OverrideKind.SCALE}
_SCORE = {OverrideKind.EXCLUDE, OverrideKind.BIAS, OverrideKind.TEMPERATURE, OverrideKind.FORCE}
_OWN_WAY = frozenset({"DbrxFFN", "MuseSparkMoE", "LagunaSparseMoeBlock", "InklingMoE", "Dots3NoteVisionMoE"})
"""Blocks whose logits are not the first E numbers that their router calculates for a token, or whose router only scores."""
_ODD_FORCE = frozenset({"PhimoeSparseMoeBlock"})
"""Blocks whose experts are chosen one after the other."""

_HEAD = """\
import torch

undo = []  # call each of these to take it back
"""

_REROUTE = '''\


def reroute(path, change):
    """Put other ids and weights into the calls of an experts module: rows, then ids and weights in either order."""

    def hook(module, args, kwargs):
        values = [*args, *kwargs.values()][1:]
        ids = next(value for value in values if torch.is_tensor(value) and not value.is_floating_point())
        weights = next(v for v in values if torch.is_tensor(v) and v.is_floating_point() and v.shape == ids.shape[:2])
        new_ids, new_weights = change(ids, weights)
        new = {id(ids): new_ids, id(weights): new_weights.to(weights.dtype)}
        return tuple(new.get(id(v), v) for v in args), {name: new.get(id(v), v) for name, v in kwargs.items()}

    undo.append(model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True, prepend=True).remove)


def chose(ids, experts):
    """Which slots hold one of the experts; Switch Transformers hand over a mask instead of ids."""
    if ids.ndim == 3:
        return ids[..., experts].any(-1)
    return torch.isin(ids, torch.tensor(experts, device=ids.device))
'''

_RESCORE = '''\


class Rescored(torch.overrides.TorchFunctionMode):
    """Changes a router's logits, and what it ranks, where it calculates them: the rest is the model's own code."""

    def __init__(self, experts, logits, ranked, groups, forced):
        super().__init__()
        self.experts, self.logits, self.ranked, self.groups, self.forced = experts, logits, ranked, groups, forced
        self.reached = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        scores = args[0] if args else None
        if not self.reached or name not in ("topk", "argmax", "max") or not scores.is_floating_point():
            result = func(*args, **kwargs)
            wide = torch.is_tensor(result) and result.is_floating_point() and result.shape[-1] == self.experts
            if wide and result.ndim > 1 and name != "__get__" and not self.reached:
                self.reached = True
                return self.logits(result)
            return result
        if scores.shape[-1] != self.experts:  # groups of experts are ranked first
            grouped = scores.ndim > 2 and scores.shape[-1] * scores.shape[-2] == self.experts
            return func(self.groups(scores.flatten(-2)).view(scores.shape) if grouped else scores, *args[1:], **kwargs)
        given = self.ranked(scores)
        plain = func(given, *args[1:], **kwargs)
        if not self.forced:
            return plain
        wanted = given.clone()
        wanted[..., self.forced] = torch.inf
        result = func(wanted, *args[1:], **kwargs)
        if name == "argmax":
            return result
        single = result[1].ndim < scores.ndim
        ids, usual = (r[1].unsqueeze(-1) if single else r[1] for r in (result, plain))
        if name == "topk" and kwargs.get("sorted", True):
            ids = ids.gather(-1, scores.gather(-1, ids).argsort(dim=-1, descending=True, stable=True))
        has = torch.stack([(usual == expert).any(-1, keepdim=True) for expert in self.forced]).all(0)
        ids = torch.where(has, usual, ids)
        values = scores.gather(-1, ids)
        return type(result)((values.squeeze(-1), ids.squeeze(-1)) if single else (values, ids))


def same(scores):
    return scores


def rescore(path, experts, logits=same, ranked=same, groups=same, forced=()):
    """Have a router run with other scores."""
    router = model.get_submodule(path)
    original, before = router.forward, vars(router).get("forward")

    def forward(*args, **kwargs):
        with Rescored(experts, logits, ranked, groups, list(forced)):
            return original(*args, **kwargs)

    forward.__wrapped__ = original
    router.forward = forward
    undo.append(lambda: vars(router).pop("forward") if before is None else setattr(router, "forward", before))


def put(scores, experts, value):
    """A copy of the scores with another number for some experts."""
    scores = scores.clone()
    scores[..., experts] = value
    return scores
'''

_CAPACITY = '''\


def limited(ids, weights, factor, experts):
    """Each expert keeps the first ceil(factor · N · k / E) slots, in token order; the others get weight 0."""
    flat = ids.reshape(-1)
    room = math.ceil(factor * flat.numel() / experts)
    late = torch.zeros_like(flat, dtype=torch.bool)
    for expert in range(experts):
        late[(flat == expert).nonzero()[room:, 0]] = True
    late = late.view_as(ids)
    return ids.masked_fill(late, 0), weights.masked_fill(late, 0)
'''

_WEIGH = '''\


def weigh(path, numbers, factor):
    """Multiply what experts return that are modules of their own; with 0, they add nothing."""
    experts = list(model.get_submodule(path).children())
    experts = list(experts[0].children()) if len(experts) == 1 else experts
    for number in numbers:
        hook = lambda module, args, output: output * factor if factor else torch.zeros_like(output)
        undo.append(experts[number].register_forward_hook(hook).remove)
'''

_SLOTS = '''\


def set_k(path, old, new):
    """Set the numbers of experts a token in a block and its configuration, which other blocks may share."""
    import re

    for module in model.get_submodule(path).modules():
        for holder in (module, getattr(module, "config", None)):
            for name, value in list(vars(holder).items()) if holder is not None else []:
                wanted = re.search("top_?k|per_tok|moe_k$|^k$|selected_experts|activated_experts", name)
                if wanted and not re.search("group|method|norm|prob|scal", name) and type(value) is int and value == old:
                    setattr(holder, name, new)
                    undo.append(lambda holder=holder, name=name, value=value: setattr(holder, name, value))
'''


def as_python(overrides: Iterable[Override], model: ModelInfo) -> str:
    """Return code that does the same to ``model``; what can't be said in plain code is a comment that says so.

    Parameters
    ----------
    overrides : iterable of Override
        In the order in which they act.
    model : ModelInfo
    """
    acting = list(overrides)
    parts = [_lines(override, model, acting[number + 1 :]) for number, override in enumerate(acting)]
    text = "\n".join(line for part in parts for line in part)
    helpers = "".join(
        code
        for call, code in (
            ("reroute(", _REROUTE),
            ("limited(", _CAPACITY),
            ("rescore(", _RESCORE),
            ("set_k(", _SLOTS),
            ("weigh(", _WEIGH),
        )
        if any(call in line for part in parts for line in part if not line.startswith("#"))
    )
    head = f"import math\n\n{_HEAD}" if "limited(" in helpers else _HEAD
    note = _note(acting)
    return f"{head}{helpers}{chr(10) * 2 if helpers else ''}{note}{chr(10)}{text}\n".replace("\n\n\n\n", "\n\n\n")


def _note(overrides: Sequence[Override]) -> str:
    both = {o.kind in _SCORE for o in overrides if o.kind in _SCORE | _ROUTING}
    return "# scores first, then what was chosen: that is the order in which they act" if len(both) > 1 else ""


def _lines(override: Override, model: ModelInfo, later: Sequence[Override]) -> list[str]:
    """The calls of one override, or why there are none."""
    lines = [f"# {override.as_call()}: {override.title}"]
    if override.columns or override.phases:
        return [*lines, "# which tokens a call has, and what the pass is for, plain hooks can't see: moedesk does it"]
    if override.kind is OverrideKind.REPLAY:
        return [*lines, "# a replay looks passes up in a capture by their tokens: moedesk does it"]
    for place in override.layers or range(len(model.layers)):
        layer = model.layers[place]
        refused = _refused(override, layer)
        if override.kind is OverrideKind.TOP_K and any(o.kind is override.kind and o.acts_on(place) for o in later):
            lines.append(f"# layer {layer.place} ({layer.path}): its k is set once more below")
        elif refused:
            lines.append(f"# layer {layer.place} ({layer.path}): {refused}")
        else:
            lines.append(_call(override, layer))
    return lines


def _refused(override: Override, layer: LayerInfo) -> str:
    """Why no plain code does it to a layer; empty if some does."""
    kind = override.kind
    if layer.adapter == WATCHED and kind in _WEIGHTS:
        return ""
    if kind is OverrideKind.TOP_K and layer.adapter and layer.adapter != WATCHED:
        return ""  # the block's own number, whatever reads its routing
    if layer.adapter or layer.selection not in ("token choice", "hash"):
        return f"{layer.block} takes its routing in a way of its own: moedesk does it"
    if kind is OverrideKind.CAPACITY and layer.block.startswith("SwitchTransformers"):
        return f"{layer.block} hands over masks, with a capacity of their own: moedesk does it"
    if kind is OverrideKind.SWAP and layer.block.startswith("SwitchTransformers"):
        return f"{layer.block} hands over masks: moedesk does it"
    if kind is OverrideKind.TOP_K and override.layers and layer.block.startswith(("Gemma4", "DiffusionGemma")):
        return "all layers share this number, so plain code can set it for all only: moedesk does it"
    if kind not in _SCORE:
        return ""
    unknown = layer.score == "unknown" or not layer.router_path or layer.block in _OWN_WAY
    if unknown or (layer.selection == "hash" and kind in (OverrideKind.FORCE, OverrideKind.EXCLUDE)):
        return f"{layer.block} calculates its score in a way of its own: moedesk does it"
    if kind is OverrideKind.FORCE and layer.block in _ODD_FORCE:
        return f"{layer.block} chooses its experts one after the other: moedesk does it"
    return ""


def _call(override: Override, layer: LayerInfo) -> str:
    experts, value = list(override.experts), override.value
    number = "" if value is None else f"{value!r}"
    if layer.adapter == WATCHED:
        factor = 0 if override.kind is OverrideKind.ABLATE else value
        return f"weigh({layer.experts_path!r}, {experts}, {factor!r})"
    path, router = repr(layer.experts_path), f"{layer.router_path!r}, {layer.experts}"
    match override.kind:
        case OverrideKind.ABLATE:
            return f"reroute({path}, lambda ids, weights: (ids, weights.masked_fill(chose(ids, {experts}), 0)))"
        case OverrideKind.SCALE:
            scaled = f"torch.where(chose(ids, {experts}), weights * {number}, weights)"
            return f"reroute({path}, lambda ids, weights: (ids, {scaled}))"
        case OverrideKind.SWAP:
            one, other = experts
            swapped = f"torch.where(ids == {one}, {other}, torch.where(ids == {other}, {one}, ids))"
            return f"reroute({path}, lambda ids, weights: ({swapped}, weights))"
        case OverrideKind.CAPACITY:
            return f"reroute({path}, lambda ids, weights: limited(ids, weights, {number}, {layer.experts}))"
        case OverrideKind.BIAS:
            return f"rescore({router}, lambda logits: put(logits, {experts}, logits[..., {experts}] + {number}))"
        case OverrideKind.TEMPERATURE:
            return f"rescore({router}, lambda logits: logits / {number})"
        case OverrideKind.EXCLUDE:
            out = f"lambda scores: put(scores, {experts}, -torch.inf)"
            shares = layer.score.startswith(("softmax", "logits")) and "+" not in layer.score
            groups = "" if shares else f", groups={out}"
            return f"rescore({router}, {out}, ranked={out}{groups})"
        case OverrideKind.FORCE:
            into = f"lambda scores: put(scores, {experts}, torch.inf)"
            return f"rescore({router}, groups={into}, forced={experts})"
        case OverrideKind.TOP_K:
            return f"set_k({layer.path!r}, {layer.top_k}, {int(value or 0)})"
    raise AssertionError(override.kind)
