"""Conversions between ROS messages and the core. The message classes are given: no module here
needs ROS.
"""
