"""What runs in the model's process: discovery, hooks, tap, recording. The only importer of torch."""
