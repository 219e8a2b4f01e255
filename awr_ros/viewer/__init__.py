"""Live view in the browser."""
