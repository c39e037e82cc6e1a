"""The routing difference of two captures: which tokens are the same, where their experts differ, and what explains it."""
