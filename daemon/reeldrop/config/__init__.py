"""config.yaml: its keys, the translation of a profile for the stages, and reloading.

Only this package knows config.yaml; the stages take plain values.
"""
