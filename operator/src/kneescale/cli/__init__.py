"""The `kneescale` command line."""
