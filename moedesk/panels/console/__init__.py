"""The Console panel: a kernel's prompt, live expressions, and what became of the kernel."""
