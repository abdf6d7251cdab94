"""Stable Video 4D 2.0: a clip of an object from one side in, the same clip from four or eight other sides out.

Our own port of the published model. What it computes was read from Stability AI's code (MIT); see docs/generate.md.
"""
