"""Folders to be shared: an artefact's own files with a card that says what they are, and their upload to the hub."""
