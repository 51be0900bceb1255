"""config.yaml: its keys, what a profile means to the stages, and how changes come into force.

The only package that knows config.yaml; the stages are given plain values.
"""
