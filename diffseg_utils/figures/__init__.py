"""Figures of the kit: fig_*(tidy data) -> matplotlib Figure; nothing is saved here and torch is not imported."""
