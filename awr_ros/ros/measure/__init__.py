"""Measurements over ROS: demo, latency, conformance."""
