"""What training Tag2Text, RAM and RAM++ is made of: data, objectives, validation, and the run."""
