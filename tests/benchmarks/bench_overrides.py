"""What overrides cost a pass: alternating runs without any, with each kind at one layer and at all, and after all are gone.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_overrides [--model sample] [--rows 1] [--rounds 12] [--seconds 30]

The sample model (6 layers, 16 experts, top-2), and a random OLMoE (hidden 512, 8 layers, 64 experts, top-8), with a prompt of 128
tokens and with one token on a cache of 128. "--model published" has the size of the smallest published models (24 layers, hidden
1,024, 32 experts, top-8: Granite 3.0 1B-A400M; 6 GB). The model is attached as in the console, with a sink that keeps nothing:
that pass is the 100 % (with --bare, a model without any hook). Each turn of some passes with an override stands between two
without; ways take turns in a new order each round. Printed is the ratio of the medians of both sorts of passes, and, behind it,
of their tenth percentiles: what it costs where no other program gets in between.

Times are the CPU's of the model's thread, since other programs share the machine; on one that is quiet, --wall counts what the
courier's thread takes away as well. Captures that are replayed were recorded while some experts were swapped. "set k" sets the
model's own k, so that the pass has the same work. Each of the four tables takes as many rounds as fit into --seconds.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

import moedesk
from moedesk.core.override import Override, OverrideKind
from moedesk.probe.attach import Attachment, attach
from moedesk.probe.load import load
from moedesk.probe.overriding.registry import overrides_of
from tests.benchmarks.bench_hooks import Null

ONE = 2
"""The layer that is meant by "one layer"."""
GONE = "after all are gone"


def olmoe(hidden: int, intermediate: int, layers: int, experts: int) -> Any:
    config = OlmoeConfig(
        vocab_size=1024, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=8,
        num_key_value_heads=8, eos_token_id=2, num_experts=experts, num_experts_per_tok=8, max_position_embeddings=4096,
    )  # fmt: skip
    torch.manual_seed(0)
    return OlmoeForCausalLM(config).eval()


MODELS: dict[str, Callable[[], Any]] = {
    "sample": lambda: load("sample")[0],
    "larger": lambda: olmoe(512, 256, 8, 64),
    "published": lambda: olmoe(1024, 512, 24, 32),
}


def ways(layers: tuple[int, ...], top_k: int, capture: str) -> dict[str, Override]:
    return {
        "ablate": Override(OverrideKind.ABLATE, layers, (3,)),
        "ablate, columns": Override(OverrideKind.ABLATE, layers, (3,), columns=(0, 9999)),
        "scale": Override(OverrideKind.SCALE, layers, (3,), 0.5),
        "swap": Override(OverrideKind.SWAP, layers, (3, 4)),
        "capacity": Override(OverrideKind.CAPACITY, layers, value=1.0),
        "exclude": Override(OverrideKind.EXCLUDE, layers, (3,)),
        "exclude, columns": Override(OverrideKind.EXCLUDE, layers, (3,), columns=(0, 9999)),
        "force": Override(OverrideKind.FORCE, layers, (3,)),
        "bias": Override(OverrideKind.BIAS, layers, (3,), 0.5),
        "temperature": Override(OverrideKind.TEMPERATURE, layers, value=1.5),
        "set k": Override(OverrideKind.TOP_K, layers, value=float(top_k)),
        "replay, ids": Override(OverrideKind.REPLAY, layers, capture=capture),
        "replay, weights too": Override(OverrideKind.REPLAY, layers, capture=capture, weights=True),
    }


class Passes:
    """Passes of one model, all alike, and what acts on them.

    Parameters
    ----------
    rows : int
        Tokens a pass; one goes on with a cache of 128.
    bare : bool
        Whether the model is left without hooks of a recording.
    clock : function
        Gives seconds.
    """

    def __init__(self, model: Any, rows: int, bare: bool, clock: Callable[[], float]) -> None:
        generator = torch.Generator().manual_seed(0)
        self._model, self._clock = model, clock
        self._ids = torch.randint(3, 1000, (1, rows), generator=generator)
        self._past = None
        if rows == 1:
            prompt = torch.randint(3, 1000, (1, 128), generator=generator)
            self._past = model(prompt, use_cache=True).past_key_values
        self._number = 3 if rows > 1 else 8
        self._attachment: Attachment | None = None
        self.overrides = overrides_of(model)
        self._bare = bare
        self.hook()
        self.overrides.attach_anew = self.hook

    def hook(self) -> None:
        """Attach, and let its first pass find the layers."""
        if self._attachment is not None:
            self._attachment.detach()
        if not self._bare:
            self._attachment = attach(self._model, sink=Null())
        self.run()

    def close(self) -> None:
        self.overrides.close()
        if self._attachment is not None:
            self._attachment.detach()

    def run(self) -> None:
        self._model(self._ids, past_key_values=self._past, use_cache=self._past is not None)
        if self._past is not None:
            self._past.crop(-1)

    def turn(self, override: Override | None) -> list[float]:
        """Seconds of some passes with this override, which is then gone."""
        if override is not None:
            self.overrides.add(override)
        self.run()
        times = [self._clock()]
        for _ in range(self._number):
            self.run()
            times.append(self._clock())
        self.overrides.close()
        return [end - start for start, end in pairwise(times)]

    def record(self, path: str, experts: int) -> None:
        """Record a pass whose experts are swapped in pairs."""
        for expert in range(0, experts, 2):
            self.overrides.add(Override(OverrideKind.SWAP, (), (expert, expert + 1)))
        with moedesk.record(self._model, path):
            self.run()
        self.overrides.close()


@torch.no_grad()
def measure(model: Any, rows: int, arguments: argparse.Namespace) -> None:
    clock = time.perf_counter if arguments.wall else time.thread_time
    passes = Passes(model, rows, arguments.bare, clock)
    layer = passes.overrides.info.layers[ONE]
    with tempfile.TemporaryDirectory() as folder:
        capture = str(Path(folder) / "run.h5")
        passes.record(capture, layer.experts)
        given: dict[tuple[str, str], Override | None] = {
            (kind, where): override
            for where, layers in (("one", (ONE,)), ("all", ()))
            if where in arguments.layers
            for kind, override in ways(layers, layer.top_k, capture).items()
            if arguments.kinds is None or kind in arguments.kinds
        }
        given[GONE, arguments.layers[-1]] = None
        taken = {way: Taken([], []) for way in given}
        rounds, end = 0, time.monotonic() + arguments.seconds
        while rounds < arguments.rounds and (not rounds or time.monotonic() < end):
            rounds += 1
            plain = passes.turn(None)
            for way in random.sample(list(given), len(given)):
                acting, again = passes.turn(given[way]), passes.turn(None)
                taken[way].acting.extend(acting)
                taken[way].plain.extend((*plain, *again))
                plain = again
    passes.close()
    middle, low = (share_of([time for one in taken.values() for time in one.plain], share) for share in (0.5, 0.1))
    times = f"{middle * 1e3:.1f} ms {'wall' if arguments.wall else 'CPU'} (tenth percentile {low * 1e3:.1f})"
    hooks = "without hooks" if arguments.bare else "attached"
    print(f"\n{rows} token{'s' * (rows > 1)} a pass, {hooks}: {times}; {rounds} rounds")
    print(f"  {'':<20}" + "".join(f"{where + ' layer' + 's' * (where == 'all'):<20}" for where in arguments.layers))
    for kind in dict.fromkeys(kind for kind, _ in taken):
        cells = [str(taken.get((kind, where), "")) for where in arguments.layers]
        print(f"  {kind:<20}" + "".join(f"{cell:<20}" for cell in cells).rstrip(), flush=True)


@dataclass(frozen=True)
class Taken:
    """Seconds of passes with an override, and of those before and after without."""

    acting: list[float]
    plain: list[float]

    def __str__(self) -> str:
        middle, low = (share_of(self.acting, share) / share_of(self.plain, share) - 1 for share in (0.5, 0.1))
        return f"{middle:+6.1%} ({low:+.1%})"


def share_of(times: list[float], share: float) -> float:
    """The time that so large a share of them stay below."""
    return sorted(times)[int(share * len(times))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30.0, help="at most, for each table")
    parser.add_argument("--layers", nargs="+", choices=["one", "all"], default=["one", "all"])
    parser.add_argument("--model", choices=list(MODELS))
    parser.add_argument("--rows", type=int, choices=[1, 128])
    parser.add_argument("--kinds", nargs="*", help="of these only")
    parser.add_argument("--bare", action="store_true", help="on a model that isn't attached")
    parser.add_argument("--wall", action="store_true", help="the clock on the wall, on a quiet machine")
    arguments = parser.parse_args()
    for name in ("sample", "larger") if arguments.model is None else (arguments.model,):
        model = MODELS[name]()
        print(f"\n{name} model, {torch.get_num_threads()} threads")
        for rows in (128, 1) if arguments.rows is None else (arguments.rows,):
            measure(model, rows, arguments)


if __name__ == "__main__":
    main()
