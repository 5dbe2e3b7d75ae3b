"""What the services share and nothing else: ids, facts and their codec, tables, and the promised GraphQL."""
