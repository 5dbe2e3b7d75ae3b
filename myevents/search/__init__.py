"""Search indexes: what they do (`port`), how text becomes words (`words`), and one adapter an engine."""
