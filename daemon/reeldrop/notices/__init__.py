"""Tell others what happens: by messages, by programs that are run, by metrics.

A process of its own reads the results and the status, so a receiver that hangs never touches a
render. Does not know the daemon, and changes nothing that it reads.

`tree` finds what is new in the results, `states` what is new in the status; each is a `happening`.
`deliveries` tells each of the `receivers` (services that Apprise knows, and programs) once, by its
`record`, in the `words` of a message. `metrics` are numbers for Prometheus.
"""
