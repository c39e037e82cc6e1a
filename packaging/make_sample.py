"""Record the shipped sample captures from the shipped models: run it after a change of the capture format.

    .venv/bin/python packaging/make_sample.py

Writes resources/sample/tinymoe.h5 and tinymoe-sick.h5: for each of eight domains two held-out texts, read in windows of 256
tokens and labelled with their domain, and, without a label because it mixes them, a padded batch of prompts with a
continuation of 40 tokens generated with a KV cache.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import moedesk

SAMPLE = Path(__file__).resolve().parent.parent / "resources" / "sample"
WINDOW = 256
PROMPT = 24
NEW_TOKENS = 40


def record(name: str) -> Path:
    """Record one model; return where the capture lies."""
    torch.set_num_threads(1)  # the same sums on every machine, and no fight for its cores
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(SAMPLE / name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / name)
    # No path of this machine in a shipped file.
    model.name_or_path = model.config._name_or_path = tokenizer.name_or_path = name
    texts = {
        domain.name: sorted(domain.glob("*.txt"))[:2]
        for domain in sorted((SAMPLE / "domains").iterdir())
        if domain.is_dir()
    }
    path = SAMPLE / f"{name}.h5"
    path.unlink(missing_ok=True)
    with torch.no_grad(), moedesk.record(model, path, tokenizer=tokenizer) as recording:
        prompts = []
        for domain, files in texts.items():
            for file in files:
                ids = tokenizer(file.read_text(encoding="utf-8"), return_tensors="pt").input_ids[0]
                with recording.label(domain):
                    for start in range(0, len(ids), WINDOW):
                        model(ids[None, start : start + WINDOW])
                prompts.append(ids[: PROMPT - len(prompts) % 4 * 3])
        tokenizer.padding_side = "left"
        batch = tokenizer.pad({"input_ids": [prompt.tolist() for prompt in prompts[::2]]}, return_tensors="pt")
        model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=True, top_k=20)
    return path


if __name__ == "__main__":
    for sample in ("tinymoe", "tinymoe-sick"):
        print(record(sample))
