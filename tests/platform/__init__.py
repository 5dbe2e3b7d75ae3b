"""The whole platform on real servers of its own, to be loaded, killed and stopped for a while."""
