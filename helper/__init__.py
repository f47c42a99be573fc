"""What the two entry scripts are built from: options, engine, run folder, checkpoints, metrics."""
