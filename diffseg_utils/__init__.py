"""Semantic segmentation with frozen diffusion models and entropy-weighted voting."""
