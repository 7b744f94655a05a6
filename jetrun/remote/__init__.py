"""The instance over SSH: connection, host keys, sync, the detached script, the dead-man's switch."""
