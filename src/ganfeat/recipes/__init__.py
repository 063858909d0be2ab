"""Recipes: what to run, and the numbers to expect. One file a result."""
