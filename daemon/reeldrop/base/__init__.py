"""Records, events, names and file operations that all other packages build on.

Values passed between stages, errors, safe names, durable writes, folders and files of strangers
opened without following links, strict YAML. Knows nothing of inboxes, pipelines or the service.

Records: `job` has prompts, jobs and videos, and what belongs to them: `grid`, `loras`, `sound`,
`sweeps`, `translated`, `windows`, `picture_files`. `events` go to the service; `fleet`, `residents`
and `trial` are told by renderers. `errors` has the exceptions.

Files: `durable` writes and renames, `moves` moves and copies, `at_once` waits for several disks.
`roots` opens folders below those of the operator, `plain_files` opens files, neither through links;
`names` and `inbox_folders` know what names mean, `temporaries` and `scratch` those of temporary
files and folders, `owners` whose they become. `proc` reads files of the kernel.

Texts: `strict_yaml` reads YAML, `yaml_faults` and `halves` help it, `yaml_text` writes it.
`escaping` and `invisible` make strangers' texts safe to show, `durations` and `trouble` have words.
"""
