"""The projector: it turns the log into read models."""
