"""The training engine: loop, schedules, checkpoints, processes, logs; it trains any task."""
