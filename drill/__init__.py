"""Drills: what breaks in a running platform is broken on purpose, while clients call it."""
