"""Pure functions over a Store: load, search, tokens, audits. numpy only."""
