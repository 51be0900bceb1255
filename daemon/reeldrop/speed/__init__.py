"""Optimizations: render the same frames in less time; with lossy ones, if a profile asks for them.

Each is applied to a loaded pipeline and is optional. Knows nothing of prompts or jobs.

`fast` applies them, and takes them off again: `channels_last` is a memory layout, `unet3d` has
faster attention and guidance, `texts` keeps embeddings, `decoding` decodes in parts,
`mixed_precision` multiplies in bfloat16, `lossy` reuses what earlier steps have computed, and
`compiled` has the compiled forms of a denoiser. `denoisers` finds what takes most of the time.
"""
