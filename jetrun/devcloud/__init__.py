"""The embedded cloud: a pure model of Nova with its neighbours, HTTP faces on it, and instances that are real SSH hosts."""
