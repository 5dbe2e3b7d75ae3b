"""GraphQL at /graphql: queries."""
