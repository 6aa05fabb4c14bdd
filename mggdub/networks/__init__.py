"""What a trained thing is; `mggdub.train` has how it came to be."""
