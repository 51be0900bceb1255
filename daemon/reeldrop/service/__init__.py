"""The daemon: its loop, the open jobs, the renderers' workbenches, and what feeds them.

Knows and connects all stages. Does not know the commands.

`service` locks the spool and handles signals; `loop` is the running daemon and reads the events;
`stages` holds its parts, `answers` handles the answers of renderers and encoder, `readiness` what
follows when a model was loaded or could not be, `losses` what follows when a renderer is lost;
`report` tells systemd, and whoever asks. `benches` has a `workbench` for each renderer, and
`feeding` keeps them busy; `models` says which models can't be used, `health` which places fail what
others render, `elsewhere` where a prompt may go instead, and `sight` what renderers look like.

`jobs` has all jobs in hand, by what is done with them: `open_jobs` opens and closes them (`opened`
is one, `opening` makes it), `batches` hands out their prompts and takes what comes back, `loads`
records the attempts to load models, `spooled` has the jobs that are not open, `needs` the models
that these wait for, `ends` ends them; `limits` has what config.yaml sets. `blame` says which
prompts may have ended processes, `suspects` which jobs wait until another was rendered,
`translations` which prompts wait until their texts are translated. `forecast` says how long a
prompt file still takes, from what was measured (`figures`) and the batches to come (`outlook`).
"""
