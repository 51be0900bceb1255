"""config.yaml: its keys, the translation of a profile for the stages, and reloading.

Only this package knows config.yaml; the stages take plain values.

`config` finds and reads the file; `schema` has its keys, `profile_keys` those of a profile, `world`
those about the world outside, `values` what single values may be; `mistakes` words what is wrong,
and `salvage` reads what is not. `builtin` merges the built-in profiles. `profiles` and
`translators` turn keys into values for the stages; `settings` are those in force.
"""
