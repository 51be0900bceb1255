"""Drop a prompt file into a folder; get the video back in a folder.

Read `service.service` first, then docs/design.md. The stages, in order: intake (inbox to spool),
schedule, prompts, render, video, store. The words:

inbox: the folder into which people drop prompt files
settled: no longer being written
claim: move a settled file into the spool; it is a job from then on
spool: the folder of the jobs in hand
profile: a model with its settings in config.yaml
attempt: a record that prompts were in hand, in renderer or encoder; a crash leaves it behind
sidecar: the YAML file beside a video; it is a prompt file that renders the video again
file away: end a job, beside its videos or in `_failed/`
"""
