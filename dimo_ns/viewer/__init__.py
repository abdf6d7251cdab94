"""Motions to look at and to play with: one state, one panel; in nerfstudio's viewer and in one of our own."""
