"""Copies the log into Kafka, and holds the copy against the log."""
