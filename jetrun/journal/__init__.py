"""Durable memory: what each run intended and what came of it, and the outbox. The only importer of sqlite3."""
