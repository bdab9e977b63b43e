"""Training of Tag2Text, RAM and RAM++: data, objectives, teachers, validation."""
