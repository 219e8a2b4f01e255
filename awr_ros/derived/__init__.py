"""Quantities derived from tracked hands: OpenXR joints, gestures, motion."""
