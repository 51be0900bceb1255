"""Tell others what happens, by messages, programs and metrics.

A process of its own reads the results and the status, so a receiver that hangs never delays a
render. Does not know the daemon, and changes nothing that it reads.

`tree` finds news in the results, `states` in the status; each is an event (`happenings`).
`deliveries` tells each event once to each of the `receivers` (services that Apprise knows, and
programs), in `parcels`, by its `record`; `words` has the texts of messages. `metrics` is for
Prometheus.
"""
