"""GraphQL at /command: mutations."""
