"""What the console of a kernel has: ``moe``, ``$0``, live expressions, and the greeting of the app."""
