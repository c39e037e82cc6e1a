"""Which operations lead linearly from parts of the residual stream to a router's logits, and which modules add these parts."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from moedesk.probe.explaining.tape import Frame, Node
from moedesk.probe.finding.discovery import inside

SUMS = {"add", "sub", "rsub", "stack", "cat", "concat", "where", "__setitem__", "sum", "mean"}
"""Linear in all their arguments together."""
FACTORS = {"mul", "multiply", "truediv", "div", "divide", "true_divide"}
"""Linear in one argument, the largest; the others are factors, taken for given."""
PRODUCTS = {"linear", "matmul", "mm", "bmm", "einsum", "addmm", "mv"}
"""So are these. With parameters they begin a part of the stream; in the router they are followed."""
FIRST = {
    "view", "reshape", "flatten", "unflatten", "unsqueeze", "squeeze", "transpose", "permute", "movedim", "swapaxes", "T", "mT",
    "t", "expand", "expand_as", "view_as", "broadcast_to", "contiguous", "to", "float", "double", "half", "bfloat16", "type",
    "type_as", "clone", "dropout", "__getitem__", "narrow", "select", "index_select", "chunk", "split", "tensor_split", "unbind",
    "repeat", "repeat_interleave", "neg", "masked_fill", "roll", "pad", "copy", "cuda", "cpu", "cumsum",
    "flip", "diff",
}  # fmt: skip
"""Linear in their first argument."""
NORMS = {"layer_norm", "rms_norm", "normalize"}
"""Linear in their first argument, but for its size (and the mean), which is taken for given."""
SIZES = {"rsqrt", "sqrt"}
"""What norms that are written out divide by, or multiply with."""
_QUOTIENTS = FACTORS - {"mul", "multiply"}
GATES = {
    "sigmoid", "softmax", "log_softmax", "softplus", "exp", "rsqrt", "sqrt", "reciprocal", "pow", "norm", "vector_norm", "std",
    "var", "tanh", "silu", "gelu", "relu", "amax", "max", "abs",
}  # fmt: skip
"""What a factor is made by: where several arguments of a product could be the stream, it is none of these."""
CURVES = {"tanh", "gelu", "silu", "relu", "clamp", "clip", "nan_to_num", "softsign"}
"""Elementwise, 0 at 0: their argument times a factor that is taken for given. Followed in the router."""


@dataclass(frozen=True)
class Leaf:
    """A part of the stream: what a module, or an operation outside of all, adds to it.

    Attributes
    ----------
    node : Node
    frame : Frame or None
        The call of the module; None if the operation is in no module of its own.
    """

    node: Node
    frame: Frame | None


@dataclass(frozen=True)
class Followed:
    """How an operation is on the way.

    Attributes
    ----------
    name : str
    arguments : tuple of int
        Places, among its tensor arguments, of those in which it is linear and that hold something of the stream.
    constants : tuple of int
        Places of those that are added and made of parameters alone: biases.
    """

    name: str
    arguments: tuple[int, ...]
    constants: tuple[int, ...] = ()


@dataclass(frozen=True)
class StreamPath:
    """The way from the parts of the stream to a tensor.

    Attributes
    ----------
    end : Node
    operations : dict of int to Followed
        Those on the way, by their numbers.
    leaves : tuple of Leaf
        In the order of the forward.
    """

    end: Node
    operations: dict[int, Followed]
    leaves: tuple[Leaf, ...]

    @property
    def parts(self) -> dict[Leaf, list[int]]:
        """Places of the leaves that are the same part, what one call of a module adds: by the first of them."""
        first: dict[Frame | Node, Leaf] = {}
        found: dict[Leaf, list[int]] = {}
        for place, leaf in enumerate(self.leaves):
            found.setdefault(first.setdefault(leaf.frame or leaf.node, leaf), []).append(place)
        return found

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of the curves on the way."""
        return tuple(sorted({each.name for each in self.operations.values()} & CURVES))


def find_path(end: Node, router: str = "", opened: Collection[str] = (), whole: Collection[str] = ()) -> StreamPath:
    """Return the way to a tensor. Its parts are as large as can be: modules that nothing of the stream passes through.

    Parameters
    ----------
    end : Node
    router : str
        Path of the module in which it was made; empty for none.
    opened : collection of str
        Paths of modules that are no parts: the stream begins in them.
    whole : collection of str
        Paths of modules that are parts even if something of the stream passes through them.
    """
    carriers = set(end.frames)
    for node, followed in _walk(end, router, None):
        for operand in _operands(node, followed):
            carriers |= set(node.frames) - set(operand.frames)
        carriers |= {frame for frame in node.frames if frame[0] in opened}
    carriers = {frame for frame in carriers if not any(inside(frame[0], path) for path in whole)}
    operations, leaves = {}, {}
    for node, followed in _walk(end, router, frozenset(carriers)):
        if followed is None:
            leaves[id(node)] = Leaf(node, _writer(node, carriers))
        else:
            operations[node.number] = followed
    return StreamPath(end, operations, tuple(sorted(leaves.values(), key=lambda leaf: leaf.node.number)))


def _walk(end: Node, router: str, carriers: frozenset[Frame] | None) -> Iterator[tuple[Node, Followed | None]]:
    """Yield every tensor on the way, and how its operation is followed; None where the way ends.

    With ``carriers``, it ends at what a module that is none of them returns. Products are followed up to the first norm or sum,
    and in the router.
    """
    waiting, seen = [(end, True)], set()
    while waiting:
        node, in_router = waiting.pop()
        if (id(node), in_router) in seen:
            continue
        seen.add((id(node), in_router))
        inside = carriers is not None and _writer(node, carriers) is not None
        here = in_router or any(path == router for path, _ in node.frames if path)
        followed = None if inside else follow(node, here)
        yield node, followed
        operands = list(_operands(node, followed))
        below = in_router and len(operands) == 1 and node.name not in NORMS
        waiting += [(operand, below) for operand in operands]


def _operands(node: Node, followed: Followed | None) -> Iterator[Node]:
    return (node.inputs[place] for place in followed.arguments) if followed is not None else iter(())


def _writer(node: Node, carriers: set[Frame] | frozenset[Frame]) -> Frame | None:
    """The outermost module call around an operation through which nothing of the stream passes."""
    return next((frame for frame in node.frames if frame not in carriers), None)


def follow(node: Node, in_router: bool) -> Followed | None:
    """Return how an operation is linear in something of the stream; None if it isn't, or begins a part of it."""
    name = node.name
    floats = [place for place, operand in enumerate(node.inputs) if operand.size]
    moving = [place for place in floats if not node.inputs[place].constant]
    if not moving:
        return None
    still = tuple(place for place in floats if node.inputs[place].constant)
    if name in SUMS:
        return Followed(name, tuple(moving), still)
    if name in FACTORS or name in PRODUCTS:
        streams = [place for place in moving if len(moving) == 1 or not _is_factor(node.inputs[place])]
        largest = max(streams, key=lambda place: node.inputs[place].size, default=-1)
        if largest < 0 or (name in _QUOTIENTS and largest) or (name in PRODUCTS and not in_router and len(moving) == 1):
            return None
        bias = still[1:] if name == "linear" else still[:1] if name == "addmm" else ()
        return Followed(name, (largest,), bias)
    if name == "scaled_dot_product_attention" and moving == [
        1,
        2,
    ]:  # its query is a parameter: a mean, weighed by gates
        return Followed(name, (2,))
    if moving[0] == 0 and (name in FIRST or name in NORMS or (name in CURVES and in_router)):
        return Followed(name, (0,), still[-1:] if name == "layer_norm" and len(still) > 1 else ())
    return None


def _is_factor(node: Node) -> bool:
    """Whether a tensor is one that parts are multiplied with: made by a gate, and scaled or shaped since."""
    while node.name not in GATES:
        moving = [operand for operand in node.inputs if operand.size and not operand.constant]
        if len(moving) != 1 or node.name not in SUMS | FACTORS | FIRST:
            return False
        node = moving[0]
    return True
