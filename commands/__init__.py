"""The commands of the command line, by what they are about: parse, call the public API, format. No logic."""
