"""Weights of other programs: which files there are and where they come from, and how they become ours and go back."""
