"""Act 2: sound, a video or a file becomes a track."""
