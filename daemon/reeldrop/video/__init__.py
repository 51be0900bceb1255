"""Encode frames into video files with metadata, and publish them while the next batch renders.

Does not know where the frames come from.

`encoder` writes files: with the index by `mp4_index`, the sound by `sound`, the mark by `synthetic`
and the signature by `signing`. `publishing` is the thread that encodes and publishes. `remote`
encodes in the process of another renderer, and `received` removes what nobody needs of that.
`assembling` is the thread for sheets: `sheets` draws them as `arrangement` says, with `labels`.
`identity` tells files with the same pictures.
"""
