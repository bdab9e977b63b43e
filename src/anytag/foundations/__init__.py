"""What every other room stands on: atomic files, connections, processors, log-odds.

Nothing here knows of pictures or models.
"""
