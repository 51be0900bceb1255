"""Optimizations: render the same frames in less time; with lossy ones, if a profile asks for them.

Each is applied to a loaded pipeline and is optional. Knows nothing of prompts or jobs.

`fast` applies them: `channels_last` is a memory layout, `unet3d` has faster attention and guidance,
`texts` keeps embeddings, `decoding` decodes in parts, `mixed_precision` multiplies in bfloat16,
`lossy` reuses what earlier steps computed. `forms` are compiled denoisers, `compiled` is what all
compilations share. `denoisers` finds what takes most of the time; `untouched` removes all again.
"""
