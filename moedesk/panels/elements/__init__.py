"""Elements: the module tree, and what each module, layer and expert is."""
