"""The inbox: when it is scanned, which names are ignored, which files are settled, why others wait.

Moves prompt files into the spool, and recognises those that ask for no render. Does not know what
is rendered, nor in which batch.

In the order in which `intake` calls them: `senses` has the kernel's events, and `pace` says when to
look; `scan` records the state of each file; `settling` says what has settled and what the rest
waits for; `examining` reads settled files, and `beside` lets them wait for their pictures; `line`
keeps them in the order of rendering; `claims` moves them into the spool. Afterwards `repeats` ends
jobs that ask for no render, and `late` reports what was written after a file had been read.
`controls` has what control files ask for, and `heeded` which of them have acted.

`inbox` puts `scan` and `settling` together. They ask `ignored`, `conflicts` and `control_names`
what names mean, `share` and `watch` what the kernel tells, `writers` who still writes, and `wishes`
which pictures are waited for. `reading` reads prompt files for `examining`, and `parses` keeps what
they said until they are claimed; `pictures` reads pictures; `places` leaves notes for people.
"""
