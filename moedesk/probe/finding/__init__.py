"""Finds out what is what in a model: MoE layers, their experts, routers, logits, scores and factors."""
