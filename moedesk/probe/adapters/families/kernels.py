"""GPT-OSS blocks that route inside a kernel: neither router nor experts are called, so a hook on those sees nothing.

Both hand out logits only. What the kernels make of them (by their source: the k best, and the softmax over those) was never run
to prove it, so such a block is refused by name rather than read by a formula.
"""

from torch import nn

from moedesk.probe.adapters.adapter import Adapter


def is_mxfp4(module: nn.Module) -> bool:
    """Whether a module is the MXFP4 block outside expert parallelism; within, it calls its router and experts as others do."""
    hooked = getattr(getattr(module, "experts", None), "_is_hooked", False)
    return type(module).__name__ == "Mxfp4GptOssMLP" and not hooked


def is_megablocks(module: nn.Module) -> bool:
    """Whether the forward of a module was replaced by that of the MegaBlocks kernel (``use_kernels=True``)."""
    return "MegaBlocksMoeMLP" in getattr(module.forward, "__qualname__", "")


ADAPTERS = (
    Adapter(
        "mxfp4", (is_mxfp4,),
        refused="its MXFP4 kernel routes inside and shows no expert ids; load the model with quantization_config="
        "Mxfp4Config(dequantize=True)",
    ),
    Adapter(
        "megablocks", (is_megablocks,),
        refused="the MegaBlocks kernel routes inside and shows no expert ids; load the model with use_kernels=False",
    ),
)  # fmt: skip
