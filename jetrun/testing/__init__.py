"""Public helpers for testing against jetrun's own model: virtual time, the cloud and the instance as pure values."""
