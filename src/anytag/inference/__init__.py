"""What a user holds: the recognizer, and what it is made of (choosing tags, scoring them, writing captions)."""
