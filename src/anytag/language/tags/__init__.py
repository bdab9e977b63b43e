"""What is known of tags before any picture is seen: kinds, synonyms, implications, and building vocabularies."""
