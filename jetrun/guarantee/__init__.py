"""The promise as decisions without I/O: no clock, no files, no network, no logging.

Whoever imports this gets values that say what to do next; only ``engine/`` acts on them.
"""
