"""The vocabulary every other package speaks: models, passes, tokens, routes, selections, filters. numpy only."""
