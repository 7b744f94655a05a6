"""What an instance of the embedded cloud has inside: a few programs, and an engine for its units."""
