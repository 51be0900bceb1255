"""The command line: commands, their output and their exit codes.

Each command has a module of its name; `cli` has their arguments. They work on the folders, and talk
to a running daemon only through files and signals.

They share `folders` (config.yaml and what it names), `output`, `errors` and `exit_codes`. `moved`
is for `retry` and `cancel`, `progress` for `submit` and `run`. `check` makes `rows`, with
`check_cluster`, `check_file` and `check_translations`; it asks what `fits`, as `models` and `run`
do. `submit` has `typed` and `submitted_pictures`; `top` has `top_screen`, `top_hands`, `top_state`
and `top_texts`.
"""
