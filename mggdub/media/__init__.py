"""Reading and writing pictures, sound and video: the only room that knows ffmpeg."""
