"""Turn the bytes of a prompt file into resolved prompts, and check them by the profile's rules.

Words the messages about mistakes in prompt files. Pure: opens no file, knows no pipeline.

`parsing` is the way in. `decoding` makes text of bytes; `lines` reads text files and `documents`
YAML into `layers` of settings. `rules` says what a profile allows (`profile_rules` checks that),
`faults` what is wrong then, and `unknown_keys`, `values` and `wording` have words for it. `sweeps`,
`wildcards`, `emphasis`, `loras`, `pictures` and `translations` (with `scripts`) each read one key
or syntax.

What was written for other tools: `foreign`, `macros` and `json_files` refuse it and show the YAML
of `in_yaml` and `examples`; `dialects`, `key_value`, `tags`, `other_names` and `worthless`
recognise it. `noting` is told to the author.
"""
