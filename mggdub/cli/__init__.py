"""The command line: options in, one call of the library, results on stdout, everything else on stderr."""
