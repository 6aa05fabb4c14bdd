"""Gaussians become pictures."""
