"""The search index that comes along: tantivy, in a directory, in this process."""
