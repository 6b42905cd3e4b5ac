"""Hugging Face families: each reads its `config.json` and writes the network with the functional builder."""
