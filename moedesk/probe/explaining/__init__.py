"""What a routing decision and an expert meant to one token: attribution and what else could have been, by runs of the model."""
