"""Conversions between ROS messages and the core. Message classes are arguments, so no module here
needs ROS.
"""
