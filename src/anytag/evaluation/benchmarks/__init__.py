"""What models are measured on: one file for each benchmark, and one for pictures with labels of the user's own."""
