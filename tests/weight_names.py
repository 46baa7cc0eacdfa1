"""Imported once by the server that forks: the rules for names of weights, which take each process 0.2 s to work out."""

from transformers.conversion_mapping import get_checkpoint_conversion_mapping

get_checkpoint_conversion_mapping("llama")
