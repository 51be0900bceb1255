"""Which files of a repository are downloaded: safetensors of one variant only."""

from __future__ import annotations

from reeldrop.render.checkpoint import needed, without_safetensors, without_weights

INDEX = {
    "_class_name": "WanPipeline",
    "boundary_ratio": 0.875,
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
}

ALWAYS = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/spiece.model",
    "tokenizer/tokenizer.json",
    "transformer/config.json",
    "vae/config.json",
}

NEVER = {
    ".gitattributes",
    "README.md",
    "assets/comparison.png",
    "examples/t2v.mp4",
    "ltx-video-2b-v0.9.safetensors",
    "image_encoder/model.safetensors",
    "text_encoder/pytorch_model.bin",
    "text_encoder/pytorch_model.fp16.bin",
    "text_encoder/pytorch_model.bin.index.json",
    "text_encoder/sample.jpg",
    "transformer/diffusion_pytorch_model_fp8.safetensors",
    "transformer/fp8/diffusion_pytorch_model.safetensors",
    "vae/flax_model.msgpack",
    "vae/wan.ckpt",
}

PLAIN = {
    "text_encoder/model-00001-of-00002.safetensors",
    "text_encoder/model-00002-of-00002.safetensors",
    "text_encoder/model.safetensors.index.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
}

BF16 = {
    "text_encoder/model.bf16-00001-of-00002.safetensors",
    "text_encoder/model.bf16-00002-of-00002.safetensors",
    "text_encoder/model.safetensors.index.bf16.json",
    "transformer/diffusion_pytorch_model-00001-of-00001.bf16.safetensors",
}


def test_what_is_needed() -> None:
    """Each part has weights of the variant if it has any, else plain ones; never both."""
    everything = ALWAYS | NEVER | PLAIN | BF16
    vae = {"vae/diffusion_pytorch_model.safetensors"}
    assert ALWAYS | PLAIN == needed(everything, INDEX, None)
    assert ALWAYS | BF16 | vae == needed(everything, INDEX, "bf16")
    assert ALWAYS | PLAIN == needed(everything, INDEX, "fp16")
    list_alone = {"vae/diffusion_pytorch_model.safetensors.index.fp16.json"}
    assert ALWAYS | PLAIN == needed(everything | list_alone, INDEX, "fp16")


def test_parts_at_the_root() -> None:
    """A repository with one model may have that part's files at its root."""
    index = {"transformer": ["diffusers", "T"], "scheduler": ["diffusers", "S"]}
    names = {"model_index.json", "scheduler/scheduler_config.json", "config.json", "README.md"}
    root = {"diffusion_pytorch_model.safetensors", "big.ckpt"}
    found = needed(names | root, index, None)
    assert names - {"README.md"} | {"diffusion_pytorch_model.safetensors"} == found


def test_weights_in_other_forms_only() -> None:
    """Pickles run code when they are read, so a part that has only those is reported."""
    assert [] == without_safetensors(ALWAYS | NEVER | PLAIN, INDEX)
    bare = {"vae/config.json", "vae/diffusion_pytorch_model.bin", *PLAIN} - {
        "vae/diffusion_pytorch_model.safetensors"
    }
    assert ["vae"] == without_safetensors(bare, INDEX)


def test_parts_that_lack_weights() -> None:
    """All shards are needed, and those of the variant, or else those without one."""
    whole = ALWAYS | PLAIN
    assert [] == without_weights(whole, INDEX, None)
    assert [] == without_weights(whole, INDEX, "bf16")
    assert [] == without_weights(ALWAYS | BF16 | PLAIN, INDEX, "bf16")
    assert ["text_encoder", "transformer", "vae"] == without_weights(ALWAYS, INDEX, None)
    for number in (1, 2):
        shard = f"text_encoder/model-0000{number}-of-00002.safetensors"
        assert ["text_encoder"] == without_weights(whole - {shard}, INDEX, None)
    assert ["vae"] == without_weights(
        whole - {"vae/diffusion_pytorch_model.safetensors"}, INDEX, None
    )
    both = whole - {"text_encoder/model-00002-of-00002.safetensors"}
    assert [] == without_weights(both | {"text_encoder/model.safetensors"}, INDEX, None)
