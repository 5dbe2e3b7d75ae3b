"""The query side: GraphQL from the read models and the search index alone."""
