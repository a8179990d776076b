"""The figures: each function takes tidy data and returns one Figure; nothing is saved, no torch."""
