"""A minimal trainer that calls callbacks as transformers' ``Trainer`` does; it needs no accelerate. Run as a script it trains
until it is killed."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState

from tests.support.families import build


@dataclass
class SmallTrainer:
    """Trains on random tokens with SGD; with ``uneven``, later parts of a step count more."""

    model: nn.Module
    callbacks: list[Any]
    parts: int = 1
    logging_steps: int = 1
    eval_steps: int = 0
    raise_at: int = 0
    rank: int = 0
    world: int = 1
    uneven: bool = False

    def __post_init__(self) -> None:
        self.state = TrainerState(is_world_process_zero=self.rank == 0, epoch=0.0)
        self.args = SimpleNamespace(n_gpu=0, process_index=self.rank, world_size=self.world)
        self.losses: list[float] = []
        self.gradients: list[dict[str, torch.Tensor]] = []

    def train(self, steps: int) -> None:
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        handler = CallbackHandler(list(self.callbacks), self.model, None, optimizer, schedule)
        control, state, args = TrainerControl(), self.state, self.args
        handler.on_train_begin(args, state, control)
        total = 0.0
        for _ in range(steps):
            handler.on_step_begin(args, state, control)
            self.model.train()
            loss = 0.0
            for part in range(self.parts):
                output = self.model(**some_batch(state.global_step * 10 + part), output_router_logits=True)
                share = (part + 1) / sum(range(self.parts + 1)) if self.uneven else 1 / self.parts
                (output.loss * share).backward()
                loss += output.loss.item() * share
                if part + 1 < self.parts:
                    handler.on_substep_end(args, state, control)
            norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
            handler.on_pre_optimizer_step(args, state, control)
            if state.global_step + 1 == self.raise_at:
                raise RuntimeError("out of luck")
            self.gradients.append(
                {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
            )
            rate = schedule.get_last_lr()[0]
            optimizer.step()
            handler.on_optimizer_step(args, state, control)
            schedule.step()
            self.model.zero_grad()
            state.global_step += 1
            state.epoch = state.global_step / 10
            self.losses.append(loss)
            total += loss
            handler.on_step_end(args, state, control)
            if state.global_step % self.logging_steps == 0:
                logs = {"loss": total / self.logging_steps, "grad_norm": norm, "learning_rate": rate}
                state.log_history.append({**logs, "step": state.global_step, "epoch": state.epoch})
                handler.on_log(args, state, control, logs)
                total = 0.0
            if self.eval_steps and state.global_step % self.eval_steps == 0:
                self.evaluate()
                handler.on_evaluate(args, state, control, {})
        handler.on_train_end(args, state, control)

    def evaluate(self) -> None:
        self.model.eval()
        with torch.no_grad():
            self.model(**some_batch(7))


def some_batch(seed: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 100, (2, 9), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "labels": ids}


class Counting:
    """A callback that says each step on stdout."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        print(state.global_step, flush=True)


if __name__ == "__main__":
    import moedesk

    callback = moedesk.TrainerCallback(sys.argv[1], every=2, backward=True)
    SmallTrainer(build("olmoe"), [callback, Counting()]).train(1_000_000)
