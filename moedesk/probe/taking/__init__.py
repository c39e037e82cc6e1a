"""From a hook to a batch of columns: what is copied when, reduced where, and handed to whom."""
