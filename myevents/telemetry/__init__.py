"""What a process tells of itself: metrics, traces and logs. Nothing in them is about a person."""
