"""What is known of faces: mesh, detector, portrait, skin, expression."""
