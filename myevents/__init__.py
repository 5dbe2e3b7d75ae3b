"""What the services run on: the store, ports with an adapter per technology, settings, and the command line."""
