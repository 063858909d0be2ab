"""The mathematics: one paper, one short file."""
