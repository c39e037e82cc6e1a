"""Chrome DevTools for Mixture-of-Experts models.

The public names load when first used, so that ``import moedesk`` costs nothing: neither Qt, nor torch, nor h5py.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moedesk.analysis.opened import open_to_analyse as open
    from moedesk.core.errors import MoedeskError
    from moedesk.probe.adapters.adapter import Adapter, Routing
    from moedesk.probe.adapters.declare import adapter
    from moedesk.probe.attach import attach
    from moedesk.probe.overriding.scripted import override
    from moedesk.probe.record import record
    from moedesk.probe.training.trainer_callback import TrainerCallback

__version__ = "0.1.0"
__all__ = [
    "Adapter", "MoedeskError", "Routing", "TrainerCallback", "__version__", "adapter", "attach", "open", "override",
    "record",
]  # fmt: skip

_PUBLIC = {
    "Adapter": "moedesk.probe.adapters.adapter:Adapter",
    "Routing": "moedesk.probe.adapters.adapter:Routing",
    "adapter": "moedesk.probe.adapters.declare:adapter",
    "attach": "moedesk.probe.attach:attach",
    "open": "moedesk.analysis.opened:open_to_analyse",
    "override": "moedesk.probe.overriding.scripted:override",
    "record": "moedesk.probe.record:record",
    "TrainerCallback": "moedesk.probe.training.trainer_callback:TrainerCallback",
    "MoedeskError": "moedesk.core.errors:MoedeskError",
    # What %load_ext and %unload_ext moedesk look for.
    "load_ipython_extension": "moedesk.probe.console.greeting:load_ipython_extension",
    "unload_ipython_extension": "moedesk.probe.console.greeting:unload_ipython_extension",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'moedesk' has no attribute {name!r}")
    module, attribute = _PUBLIC[name].split(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
