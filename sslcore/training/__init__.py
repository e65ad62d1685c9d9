"""Learners, the loop that runs them, and pretraining from end to end."""
