"""Finders of hand candidates in a depth image."""
