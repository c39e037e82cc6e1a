"""``moedesk.adapter``: says, in a line or a few, where a model of one's own keeps its routing."""

from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from moedesk.core.errors import MoedeskError
from moedesk.probe.adapters.adapter import Adapter, Number, Read, RunExpert, Select, Selection, Weighs, Write
from moedesk.probe.adapters.registry import declare

Target = str | type | Callable[[nn.Module], bool]


def adapter(
    *targets: Target,
    read: Read | None = None,
    router: str = "",
    experts: str = "",
    name: str = "",
    hook: str | None = None,
    logits: str = "",
    when: Literal["after", "before"] = "after",
    write: Write | None = None,
    select: Select | None = None,
    run_expert: RunExpert | None = None,
    weighs: Weighs = "outputs",
    n_experts: Number = None,
    shared: Number = None,
    identity: Number = None,
    top_k: Number = None,
    selection: Selection = "token choice",
    score: str | None = None,
    stream: str | None = None,
) -> Any:
    """Declare how the routing of your own MoE blocks is read, for every model that is recorded or attached from now on.

    Parameters
    ----------
    *targets : str, type or function
        The blocks: class names, classes, path patterns (``"model.layers.*.ffn"``: a text with a dot or a star; ``*`` is one part
        of the path, ``**`` any number), or functions that take a module and say whether it is one.
    read : function
        Takes the block, the arguments of its call and its output; returns ``moedesk.Routing(ids, weights, logits)``.
    router, experts : str
        Paths of these modules below the block. Without ``read``, ids and weights are found by their shapes in what the router
        returns; if it returns logits only, or is left out, by watching the block, whose experts must then be modules, one each.
    name : str
        Shown, and kept in captures; the first target's name if left out.
    hook : str
        The call that is read is that of this module below the block, e.g. ``"gate"``; ``read`` gets that module.
    logits : str
        Path of a module below the block whose output are the logits, where ``read`` doesn't return them.
    when : {"after", "before"}
        Before the call, ``output`` is None.
    write, select, run_expert, weighs, n_experts, shared, identity, top_k, selection, score, stream
        See ``moedesk.Adapter``.

    Returns
    -------
    Adapter, or a decorator
        Without ``read``, ``router`` and ``experts``, what is decorated is the ``read`` function.

    Raises
    ------
    MoedeskError
        If it names no target.

    Examples
    --------
    >>> moedesk.adapter("MyMoE", router="gate", experts="experts")
    >>> moedesk.adapter(MyMoE, read=lambda block, args, kwargs, output: moedesk.Routing(output.ids, output.weights))
    >>> @moedesk.adapter("model.layers.*.ffn", n_experts=16)
    ... def read(block, args, kwargs, output):
    ...     return moedesk.Routing(block.last_ids, block.last_weights)
    """
    if not targets:
        raise MoedeskError('moedesk.adapter() needs the blocks that it is for: moedesk.adapter("MyMoE", ...)')
    wrong = next((target for target in targets if not (isinstance(target, str) or callable(target))), None)
    if wrong is not None:
        raise MoedeskError(f"moedesk.adapter() takes class names, paths, classes or functions, not {wrong!r}")
    options: dict[str, Any] = {
        "name": name or _name(targets[0]), "targets": targets, "router": router, "experts": experts,
        "hook": router if hook is None and read is None else hook or "", "logits": logits, "when": when, "write": write,
        "select": select,
        "run_expert": run_expert, "weighs": weighs, "n_experts": n_experts, "shared": shared, "identity": identity,
        "top_k": top_k, "selection": selection, "score": score, "stream": stream,
    }  # fmt: skip
    if read is not None or router or experts:
        made = Adapter(read=read, **options)
        declare(made)
        return made

    def decorator(function: Read) -> Read:
        declare(Adapter(read=function, **options))
        return function

    return decorator


def _name(target: Target) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", "adapter")
