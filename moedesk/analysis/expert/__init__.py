"""What one expert of a layer does: its share over time, friends, vocabulary, contexts, paths."""
