"""Store jobs and videos, and read them back: the spool, the results tree, `_failed/`.

Does not know what a prompt file says, how a video is made, or what is rendered next.

A job is a folder with a claimed prompt file. `spool` claims, finds and ends jobs; `job_files` reads
and writes the other files in it, `attempts` the record of attempts, and `pictures` moves their
pictures. `results` publishes videos under names of `stems`, and `sidecars` words the YAML beside
them; `failed` sets prompt files aside with a report (`reports`), and `cleared` moves away what was
rendered since; `filing` combines them to end a job. `sheets` has those of sweeps, `folded` keeps
names apart that differ only in case, `lock` lets one process use a spool. Commands use `retried`,
`withdrawn`, `history` and `status`, and what is `described` of the models.
"""
