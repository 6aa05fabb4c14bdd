"""What a photo shows: face, geometry, plate. Adapters around small networks."""
