"""The command side: it alone decides. Commands come in, facts go into the log."""
