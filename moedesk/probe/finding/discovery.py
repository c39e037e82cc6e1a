"""Where a model may hold experts: candidates in its module tree, found by what their forward takes, not by their names."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from moedesk.core.errors import MoedeskError, NoMoELayersError
from moedesk.core.model import WATCHED
from moedesk.probe.adapters.adapter import Adapter
from moedesk.probe.adapters.registry import claim, declared
from moedesk.probe.finding.arguments import argument_names
from moedesk.probe.finding.pools import POOLS, Pool
from moedesk.probe.finding.refusals import refuse_unhookable

_CHOICE = re.compile(r"expert|index|indices|idx|ids|top_?k")
_WEIGHT = re.compile(r"weight|prob|score|gate|gating")

_EXPERT = re.compile(r"expert|moe|mixture", re.IGNORECASE)

_TOKENS = {"input_ids", "inputs_embeds", "decoder_input_ids"}

LayerChoice = Sequence[int | str] | Callable[[str], bool] | None
"""Which layers to record: places, paths, or a function of the path; None for all."""


@dataclass(frozen=True)
class Candidate:
    """A module that takes token rows, a choice and weights, and the block around it.

    Attributes
    ----------
    path, block_path : str
        Module paths of the experts module and of the block that holds it.
    stack_path : str
        Path of the module above them that is called with the tokens (``input_ids`` or ``inputs_embeds``).
    stream : str
        Name of that token stream.
    adapter : Adapter or None
        What reads it; None for the generic rule.
    around : Module or None
        What holds the block.
    pool : Pool or None
        Which rows of its stream the block sees; None for all.
    """

    path: str
    experts: nn.Module
    block_path: str
    block: nn.Module
    stack_path: str
    stream: str
    adapter: Adapter | None = None
    around: nn.Module | None = None
    pool: Pool | None = None

    @property
    def watched(self) -> bool:
        """Whether its experts are modules, one each, and nothing says how its routing is read: its router gives logits only."""
        adapter = self.adapter
        if adapter is None or adapter.read is not None or not adapter.experts or not _is_list(self.experts):
            return False
        return not adapter.hook or isinstance(adapter.module(self.block, adapter.hook), nn.Linear)


def find_candidates(model: nn.Module) -> tuple[Candidate, ...]:
    """Return every module of the tree that may hold the routed experts of an MoE layer, in the order of the tree.

    Raises
    ------
    NoMoELayersError
        If there is none.
    MoedeskError
        If hooks on the model's modules would see nothing.
    """
    refuse_unhookable(model)
    modules = dict(model.named_modules())
    stacks = {path for path, module in modules.items() if takes_tokens(module)}
    claimed = claim(modules)
    _refuse(claimed, modules)
    found = {path for path, module in modules.items() if path and takes_routing(module)}
    found -= {path for path in found if any(other.startswith(path + ".") for other in found)}  # wrappers (PEFT)
    found -= {path for path in found if any(inside(path, block) for block in claimed)}
    for path, own in _hand_written(modules).items():
        if not any(inside(path, block) for block in claimed) and not any(inside(other, path) for other in found):
            claimed[path] = own
    two_streams = _has_two_streams(model, [*found, *claimed])
    candidates = []
    for path in (*found, *claimed):
        adapter = claimed.get(path)
        block_path = path if adapter is not None else parent_path(path)
        stack = block_path
        while stack and stack not in stacks:
            stack = parent_path(stack)
        if adapter is not None:
            path = ".".join(filter(None, (block_path, adapter.experts)))
        block, around = modules[block_path], modules[parent_path(block_path)] if block_path else None
        pool = POOLS.get((type(block).__name__, block_path.rpartition(".")[2]))
        stream = (adapter and adapter.stream) or _stream(stack if pool else path, two_streams)
        candidates.append(Candidate(path, modules[path], block_path, block, stack, stream, adapter, around, pool))
    if not candidates:
        raise NoMoELayersError(
            f"{type(model).__name__} has no Mixture-of-Experts layer: no module's forward takes token rows, expert ids and "
            f"weights; use a model with routed experts{_unused()}"
        )
    order = {path: place for place, path in enumerate(modules)}
    return tuple(sorted(candidates, key=lambda candidate: order[candidate.path]))


def _refuse(claimed: Mapping[str, Adapter], modules: Mapping[str, nn.Module]) -> None:
    for path, adapter in claimed.items():
        if adapter.refused:
            kind = type(modules[path]).__name__
            raise MoedeskError(f"{path or 'the model'} ({kind}) can't be read: {adapter.refused}")


def inside(path: str, block_path: str) -> bool:
    """Whether a module is in another one, or is it."""
    return not block_path or path == block_path or path.startswith(block_path + ".")


def choose(candidates: Sequence[Candidate], layers: LayerChoice) -> tuple[Candidate, ...]:
    """Return the candidates that ``layers`` names.

    Raises
    ------
    MoedeskError
        If it names one that isn't there.
    """
    if layers is None:
        return tuple(candidates)
    if callable(layers):
        chosen = [candidate for candidate in candidates if layers(candidate.block_path)]
    else:
        wanted = [layers] if isinstance(layers, int | str) else list(layers)
        chosen = [_find(candidates, name) for name in wanted]
    if not chosen:
        raise MoedeskError(f"layers= chooses none of the model's MoE layers; it has {_hint(candidates)}")
    return tuple(candidate for candidate in candidates if candidate in chosen)


def _hand_written(modules: Mapping[str, nn.Module]) -> dict[str, Adapter]:
    """Blocks with a module for each expert beside something that has a column for each: they are watched."""
    found: dict[str, Adapter] = {}
    for path, module in modules.items():
        held_by, _, name = path.rpartition(".")
        if not path or not _is_list(module) or not _speaks_of_experts(name, module, modules[held_by]):
            continue
        while _is_list(modules[held_by]) or (held_by and _only_holds(modules[held_by])):
            held_by = parent_path(held_by)
        below = path.removeprefix(f"{held_by}.") if held_by else path
        if held_by not in found and _has_gate(modules[held_by], module):
            found[held_by] = Adapter(WATCHED, (type(modules[held_by]),), experts=below)
    return found


def _only_holds(module: nn.Module) -> bool:
    """Whether a module holds one other and nothing else: a router may be a parameter."""
    return len(list(module.children())) == 1 and not module._parameters


def _is_list(module: nn.Module) -> bool:
    """Whether a module holds modules that are alike, two at least."""
    children = list(module.children())
    if not isinstance(module, nn.ModuleList | nn.ModuleDict):
        return _only_holds(module) and isinstance(children[0], nn.ModuleList | nn.ModuleDict) and _is_list(children[0])
    return len(children) > 1 and len({type(child) for child in children}) == 1


def _speaks_of_experts(name: str, experts: nn.Module, holder: nn.Module) -> bool:
    first = next(iter(experts.children()))
    return any(_EXPERT.search(text) for text in (name, type(first).__name__, type(holder).__name__))


def _has_gate(block: nn.Module, experts: nn.Module) -> bool:
    """Whether something in a block, beside its experts, has a row or a column for each of them."""
    number, inner = len(list(experts.children())), set(experts.modules())
    own = (parameter for module in block.modules() if module not in inner for parameter in module.parameters(False))
    return any(parameter.ndim == 2 and number in parameter.shape for parameter in own)


def _unused() -> str:
    names = ", ".join(repr(adapter.name) for adapter in declared())
    return f", or moedesk.adapter(...) for your own; of those declared ({names}) none fits a module" if names else ""


def _find(candidates: Sequence[Candidate], name: int | str) -> Candidate:
    if isinstance(name, str):
        for candidate in candidates:
            if name in (candidate.block_path, candidate.path):
                return candidate
    elif -len(candidates) <= name < len(candidates):
        return candidates[name]
    raise MoedeskError(f"layers= names {name!r}, but the model's MoE layers are {_hint(candidates)}")


def _hint(candidates: Sequence[Candidate]) -> str:
    return f"0…{len(candidates) - 1}: {candidates[0].block_path} … {candidates[-1].block_path}"


def parent_path(path: str) -> str:
    """Return the path of the module that holds the one at ``path``."""
    return path.rpartition(".")[0]


def takes_routing(module: nn.Module) -> bool:
    """Whether a module's forward looks like that of routed experts: token rows, then a choice and weights."""
    names = _arguments(module)
    if len(names) < 3 or names[0].startswith("pixel"):  # patches, with a table of positions
        return False
    if any(parameter.ndim == 3 for parameter in module.parameters(recurse=False)):
        return True
    return any(_CHOICE.search(name) for name in names[1:3]) and any(_WEIGHT.search(name) for name in names[1:3])


def takes_tokens(module: nn.Module) -> bool:
    """Whether a module's forward takes a batch of token ids or of their embeddings, and no hidden states before them."""
    names = _arguments(module)
    return bool(names) and names[0] != "hidden_states" and not _TOKENS.isdisjoint(names)


def _arguments(module: nn.Module) -> list[str]:
    return [name.lower() for name in argument_names(module)]


def _has_two_streams(model: nn.Module, paths: Sequence[str]) -> bool:
    """Whether a model has an encoder and a decoder: by its configuration, or because there are experts in both."""
    sides = {side for path in paths for side in ("encoder", "decoder") if side in path.split(".")}
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False)) or len(sides) == 2


def _stream(path: str, two_streams: bool) -> str:
    parts = path.lower().split(".")
    if any("vision" in part or "visual" in part for part in parts):
        return "vision"
    if any("audio" in part for part in parts):
        return "audio"
    if any(part.startswith(("mtp", "nextn", "draft")) for part in parts):
        return "draft"
    if "talker" in parts:  # speaks what the thinker thought
        return "talker"
    if two_streams:
        return "encoder" if "encoder" in parts else "decoder"
    return "main"
