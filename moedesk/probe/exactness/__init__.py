"""The self-test: whether what is captured is what the model does."""
