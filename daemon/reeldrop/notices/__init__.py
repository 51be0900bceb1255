"""What is told to the world: messages, programs that are run, metrics.

A process of its own reads the results and the status, so a receiver that hangs never touches a
render. Does not know the daemon, and changes nothing that it reads.

`tree` says what is new in the results, `states` what the status says; `deliveries` passes that on
to each receiver, once, by its `record`; `receivers` are those: services by Apprise, and programs.
`metrics` are numbers for Prometheus.
"""
