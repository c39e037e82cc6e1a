"""What measuring gradients and outputs costs a training step: ratios of alternating steps, with and without.

python tests/benchmarks/bench_backward.py [--steps 30]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import moedesk

SIZES = {
    "vocab_size": 1000, "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 8, "num_experts": 32, "num_experts_per_tok": 8, "max_position_embeddings": 512,
    "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1,
}  # fmt: skip


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["olmoe"](**SIZES)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(3, 1000, (2, 128))

    def step() -> float:
        began = time.perf_counter()
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        step(), step()
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {ids.numel():,} tokens a step")
        for title, options in (
            ("ids and weights", {}),
            ("and gradients", {"backward": True, "outputs": False}),
            ("and gradients and outputs", {"backward": True}),
        ):
            ratios = []
            with moedesk.record(model, Path(folder) / "a.h5", backward=bool(options)) as recording:
                if options.get("outputs") is False:
                    recording.hooks.outputs.remove()
                step()
                for _ in range(steps):
                    recording.hooks.recording = False
                    recording.hooks.steps.backward = False
                    plain = step()
                    recording.hooks.recording = True
                    recording.hooks.steps.backward = bool(options)
                    ratios.append(step() / plain)
            ratios.sort()
            low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
            print(f"{title:28} {statistics.median(ratios):.3f} × a step without ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()
