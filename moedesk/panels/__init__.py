"""One folder a panel: spec.py declares it, model.py prepares what is drawn, view.py draws it."""
