"""Renderers on other GPUs and machines, by Ray: one for each GPU, behind the `Renderer` protocol.

Knows neither jobs nor the inbox: the service decides what is rendered where. All state in Ray may
be lost at any time; what must last is in the folders.

`fleet` is what the service sees: the connected renderers, each as a `proxy`. It starts `bridge` as
a `process` of its own, the only one of ours that imports Ray: Ray ends a process that has lost the
head of its cluster, and that must not be the process that holds the jobs. Its `agenda` is what one
thread has to do. `actor` runs on each GPU: the same renderer as without a cluster, and the encoder;
`outbox` keeps its events until they have arrived. `joining` connects the bridge to the cluster;
`lives` starts actors; `places` decides which GPUs get a renderer, and whether their memory is free;
`left_out` knows which get nothing to render. `wire` defines the messages between these processes;
`access` provides the token, the network and the environment for Ray; `errors` reads Ray's error
messages. `tuners` measures for `reeldrop tune`, once on each kind of card.
"""
