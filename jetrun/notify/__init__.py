"""Tells people how a run ended: the report on a terminal, the mail, and its way through an SMTP server."""
