"""One inspected thing, a capture or a live kernel: session, jobs, panel specs, settings. No Qt."""
