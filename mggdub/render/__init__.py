"""Gaussian splatting and compositing."""
