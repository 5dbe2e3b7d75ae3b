"""The search index in Elasticsearch: for many processes on many machines."""
