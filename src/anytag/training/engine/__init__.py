"""The training loop and what it needs, whatever is trained: schedules, checkpoints, processes, logs."""
