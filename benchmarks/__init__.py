"""What ``make bench`` measures; run as a program, never imported."""
