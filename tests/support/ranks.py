"""One of several processes that run a tiny model together, on the CPU: ``python -m tests.support.ranks FOLDER``."""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from transformers.distributed import DistributedConfig
from transformers.distributed.utils import initialize_distributed_mesh

import moedesk
from moedesk.core.errors import MoedeskError
from moedesk.probe.exactness.verify import verify
from tests.support.families import build, some_ids

WAYS: dict[str, dict[str, Any]] = {
    "experts": {"tp_size": 2, "ep_size": 2},
    "exchanged": {"tp_size": 2, "ep_size": 2, "ep_implementation": "all_to_all"},
    "tensors": {"tp_size": 2, "tp_plan": "auto"},
    "data and experts": {"fsdp_size": 2, "ep_size": 2},
    "data": {"fsdp_size": 2},
}
"""How transformers spreads a model over two processes."""

PASSES = 3


def spread(way: str) -> nn.Module:
    """A tiny model whose parts lie on two processes."""
    config = DistributedConfig(**WAYS[way])
    _, mesh = initialize_distributed_mesh(config)
    model = build("olmoe")
    distributed_model: nn.Module = type(model).maybe_distribute_model(model, config, mesh)
    return distributed_model


def ids_of(way: str, rank: int, turn: int) -> torch.Tensor:
    """Tokens of one process in one pass: others for each where the data are spread."""
    return some_ids(2, 9, seed=10 * turn + (rank if "data" in way else 0))


def run(way: str, rank: int, folder: Path) -> None:
    """Record forwards, then a training step."""
    model = nn.parallel.DistributedDataParallel(build("olmoe").train()) if way == "data copies" else spread(way)
    with moedesk.record(model, folder / f"{way}.h5", logits=True) as recording, torch.no_grad():
        for turn in range(PASSES):
            model(input_ids=ids_of(way, rank, turn))
    told = [f"file {recording.path.name} repeats {recording.repeats} passes {recording.passes}"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with moedesk.record(model.train(), folder / f"{way} trained.h5", backward=True):
        for turn in range(2):
            model(input_ids=(ids := ids_of(way, rank, turn)), labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    try:
        verify(model)
    except MoedeskError as error:
        told.append(str(error))
    (folder / f"{way} {rank}.txt").write_text("\n".join(told))


def main(folder: Path) -> None:
    distributed.init_process_group("gloo")
    for way in (*WAYS, "data copies"):
        print(way, flush=True)
        run(way, distributed.get_rank(), folder)
    distributed.destroy_process_group()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main(Path(sys.argv[1]))
