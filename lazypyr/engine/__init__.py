"""Execution of pyramids: chunk cache, thread pools, memory limit."""
