"""What is worth keeping for a while: in memory, or in Redis for several processes."""
