"""Failure drills: things are killed at random moments, and what was promised is checked from outside."""
