"""Load diffusers pipelines, and render batches of prompts to frames within the free memory.

Knows nothing of folders, prompt files or encoding.

Models: `source` says what is wanted. `downloads` gets files from the hub, if there is `room`;
`hub_cache` says which are here, `hub_errors` why not; `repository` and `pins` know the commit,
`checkpoint` the files that are needed, `tensors` what is in them, `weights` how large they will be.

Pipelines: `pipeline` loads one, `parts` sets it up, with the types of `dtypes`; the result is
`loaded`. `capabilities` finds out what it accepts, by the table `classes` of `kinds`, `noisy` where
its scheduler draws noise; `problems` says why it can't be loaded. `lora_files`, `lora_layers` and
`loras` add LoRAs, `windows` long videos, `chunks` and `clip_texts` long texts; `unread` tells what
of a text is not read.

Renders: `renderer` is the thread that renders, `fleet` has one or more. `residents` are its loaded
pipelines; `devices` says which GPU there is, `placements` where weights are on it, `memory` and
`measure` what fits. `fitting` renders a batch within that, `rendering` by a call of the pipeline,
whose `steps` are told. `ahead` encodes the next texts, `previews` makes small pictures; `pictures`
opens those of prompts, of which `picture_parts` knows the safe parts, `sound` takes what is heard,
`recording` says how it was rendered. On several GPUs, `ranks` has the other processes, each of
which is a `rank`; `orders` go to them, and `split` is what they share. `quiet` is for the
libraries' words.
"""
