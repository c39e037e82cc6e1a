"""Training steps: gradients, output norms, and the Trainer's callback."""
