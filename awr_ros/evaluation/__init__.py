"""Evaluation on rendered data: crops, scenes, the OpenXR output."""
