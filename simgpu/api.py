"""The whole pipeline; the file to read first."""
