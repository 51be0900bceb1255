"""Renderers on other GPUs and machines, by Ray: one for each GPU, behind the `Renderer` protocol.

Knows neither jobs nor the inbox: the service decides what is rendered where. What Ray holds may be
lost at any time; what counts is in the folders.

`fleet` is what the service sees: the renderers that are there, each a `proxy`. It starts `bridge`,
a `process` of its own, the only one of ours that imports Ray: Ray ends a process that has lost the
head of its cluster, and that must not be the one that has the jobs. `actor` is what Ray runs on
each GPU: the same renderer as in one process, and the encoder; `outbox` keeps what it tells until
that has arrived. `places` says which GPUs get a renderer, and whether their memory is free. `wire`
has the messages of all three; `access` the token, the network and the environment for Ray.
"""
