"""What a forward calculates, operation by operation, and in which modules: it shows what the residual stream is a sum of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

Frame = tuple[str, int]
"""A call of a module: its path, and the number of the call."""


@dataclass(frozen=True, eq=False)
class Node:
    """A tensor in a forward.

    Attributes
    ----------
    number : int
        Of the operation that made it, in the order of the forward; -1 for a tensor that was there before, or that no operation
        made which can be seen.
    name : str
        Of that operation.
    inputs : tuple of Node
        Its tensor arguments, in their order.
    frames : tuple of Frame
        The modules in which it ran, the outermost first.
    place : int
        Which of the operation's outputs it is.
    size : int
        Elements; 0 if they are no floats.
    constant : bool
        Whether it is made of the model's parameters and buffers alone.
    """

    number: int
    name: str
    inputs: "tuple[Node, ...]" = ()
    frames: tuple[Frame, ...] = ()
    place: int = 0
    size: int = 0
    constant: bool = False


class Numbered(TorchFunctionMode):
    """Sees every operation of a forward, and numbers those that make tensors: the same in each run on the same input.

    While it is entered, hooks on the modules tell which of them run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = operation_name(func)
        if name in _NO_OPERATIONS:
            return func(*args, **(kwargs or {}))
        self.count += 1
        return self.operation(self.count - 1, name, func, tuple(args), dict(kwargs or {}))

    def operation(
        self, number: int, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Carry an operation out and return what it returns."""
        raise NotImplementedError


def unseen(hook: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """Return a hook whose operations are none of the forward's: they are not numbered."""

    @wraps(hook)
    def hidden(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
        with torch._C.DisableTorchFunction():
            return hook(*args, **kwargs)

    return hidden


class Tape(Numbered):
    """Keeps how each tensor of a forward was made.

    Parameters
    ----------
    model : Module
    seen : function
        Told each node and its tensor as soon as it is made.
    """

    def __init__(self, model: nn.Module, seen: Callable[[Node, Tensor], None]) -> None:
        super().__init__()
        self._model = model
        self._seen = seen
        self._nodes: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self._frames: list[Frame] = []
        self._calls: dict[str, int] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "Tape":
        for path, module in self._model.named_modules():
            self._handles += [
                module.register_forward_pre_hook(self._enterer(path), prepend=True),
                module.register_forward_hook(self._leave, always_call=True),
            ]
        super().__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        for handle in self._handles:
            handle.remove()

    def _enterer(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, args: Any) -> None:
            call = self._calls[path] = self._calls.get(path, -1) + 1
            self._frames.append((path, call))

        return enter

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        for place, tensor in enumerate(tensors_in(output)):
            if tensor not in self._nodes:  # a kernel of its own made it
                self._keep(tensor, Node(-1, type(module).__name__, (), tuple(self._frames), place, _size(tensor)))
        self._frames.pop()

    def operation(
        self, number: int, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Carry an operation out and keep what it made."""
        given = list(tensors_in((args, kwargs)))
        inputs = tuple(self.node(tensor) for tensor in given)
        versions = {id(tensor): tensor._version for tensor in given}
        constant = all(node.constant for node in inputs)
        output = func(*args, **kwargs)
        made = args[0] if name == "__setitem__" else output
        for place, tensor in enumerate(tensors_in(made)):
            if (
                versions.get(id(tensor), -1) != tensor._version
            ):  # else it was handed on as it is, such as by ``to`` its own dtype
                self._keep(tensor, Node(number, name, inputs, tuple(self._frames), place, _size(tensor), constant))
        return output

    def _keep(self, tensor: Tensor, node: Node) -> None:
        self._nodes[tensor] = node
        self._seen(node, tensor)

    def node(self, tensor: Tensor) -> Node:
        """Return how a tensor was made."""
        node: Node | None = self._nodes.get(tensor)
        if node is None:
            own = id(tensor) in self._own
            node = self._nodes[tensor] = Node(-1, "", size=_size(tensor), constant=own)
        return node


_NO_OPERATIONS = {
    "__get__",
    "__set__",
    "size",
    "dim",
    "numel",
    "is_floating_point",
    "is_complex",
    "stride",
    "__len__",
    "tolist",
}
_VIEWS: dict[Any, str] = {Tensor.T.__get__: "T", Tensor.mT.__get__: "mT"}  # type: ignore[attr-defined]


def _size(tensor: Tensor) -> int:
    return tensor.numel() if tensor.is_floating_point() else 0


def operation_name(func: Callable[..., Any]) -> str:
    """Return the name of an operation, ``add`` for all the ways to write it."""
    name = _VIEWS.get(func) or str(getattr(func, "__name__", ""))
    if name.startswith("__") and name not in ("__getitem__", "__setitem__", "__get__", "__set__", "__len__"):
        name = name.strip("_")
        name = name[1:] if name[0] in "ri" and name[1:] in _ARITHMETIC else name
    return name.rstrip("_") if not name.endswith("__") else name


_ARITHMETIC = {"add", "sub", "mul", "truediv", "matmul", "pow", "div"}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in arguments or outputs: tuples, lists and mappings of them, nested ones too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
