"""Cameras, rotations, surfaces and symmetry: numpy in, numpy out."""
