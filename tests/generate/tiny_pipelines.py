"""Every image-to-video pipeline with tiny random networks, saved to a folder as the published ones are, and presets."""

from pathlib import Path

import torch
import yaml

WORDS = ["a", "the", "fox", "disc", "jumps", "walks", "in", "place", "camera", "white", "background"]
KINDS = ("wan2.2-ti2v-5b", "wan2.2-i2v-a14b", "cogvideox", "hunyuan")


def save(kind: str, folder: Path) -> Path:
    """The folder of the weights; beside it a preset, FOLDER.yaml."""
    pipeline = {"cogvideox": cogvideox, "hunyuan": hunyuan}.get(kind, lambda: wan(kind))()
    pipeline.save_pretrained(folder)
    parameters = {
        name: sum(tensor.numel() for tensor in part.state_dict().values()) / 1e9
        for name, part in pipeline.components.items()
        if name.startswith("transformer") and part is not None
    }
    model = {
        "pipeline": type(pipeline).__name__, "repo": f"nobody/{kind}", "licence": "none", "parameters": parameters,
        "gigabytes": 0.001, "frame_step": 8 if kind == "cogvideox" else 4, "most_frames": 17, "multiple": 16, "fps": 8,
        "patch": 16, "layers": 1, "channels": 16,
    }  # fmt: skip
    preset = {
        "needs_gb": 0.1, "model": model, "height": 64, "width": 64, "frames": 9, "steps": 2, "guidance": 3.0,
        "offload": "none", "tiling": kind != "hunyuan", "multiview": "sv4d2_8views", "images_at_once": 4,
        "multiview_steps": 2,
    }  # fmt: skip
    folder.with_name(f"{folder.name}.yaml").write_text(yaml.safe_dump(preset))
    return folder


def tokenizer(length: int):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tool = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tool.pre_tokenizer = pre_tokenizers.Whitespace()
    tool.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tool, model_max_length=length, **special)


def text_encoder(multilingual: bool):
    from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

    config, model = (UMT5Config, UMT5EncoderModel) if multilingual else (T5Config, T5EncoderModel)
    sizes = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
    return model(config(**sizes, tie_word_embeddings=False)).eval()


def cogvideox():
    import diffusers as d

    torch.manual_seed(0)
    transformer = d.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=8, out_channels=4, time_embed_dim=2,
        text_embed_dim=32, num_layers=1, sample_width=8, sample_height=8, sample_frames=9, patch_size=2,
        temporal_compression_ratio=4, max_text_seq_length=226, use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )  # fmt: skip
    vae = d.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )  # fmt: skip
    return d.CogVideoXImageToVideoPipeline(
        tokenizer(226), text_encoder(False), vae, transformer, d.CogVideoXDDIMScheduler()
    )


def wan(kind: str):
    import diffusers as d

    torch.manual_seed(0)
    scheduler = d.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
    )

    def transformer(channels_in: int, channels_out: int):
        return d.WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=channels_in,
            out_channels=channels_out, text_dim=32, freq_dim=256, ffn_dim=32, num_layers=2, rope_max_seq_len=32,
        )  # fmt: skip

    shared = {"tokenizer": tokenizer(512), "text_encoder": text_encoder(True), "scheduler": scheduler}
    sizes = {"base_dim": 3, "dim_mult": [1] * 4, "num_res_blocks": 1, "temperal_downsample": [False, True, True]}
    if kind == "wan2.2-ti2v-5b":
        vae = d.AutoencoderKLWan(
            z_dim=48, in_channels=12, out_channels=12, is_residual=True, patch_size=2, scale_factor_spatial=16,
            latents_mean=[0.0] * 48, latents_std=[1.0] * 48, **sizes,
        )  # fmt: skip
        return d.WanImageToVideoPipeline(vae=vae, transformer=transformer(48, 48), expand_timesteps=True, **shared)
    vae = d.AutoencoderKLWan(z_dim=16, **sizes)
    experts = {"transformer": transformer(36, 16), "transformer_2": transformer(36, 16)}
    return d.WanImageToVideoPipeline(vae=vae, boundary_ratio=0.9, **experts, **shared)


def hunyuan():
    import diffusers as d
    from diffusers.guiders import ClassifierFreeGuidance
    from transformers import (
        ByT5Tokenizer,
        Qwen2_5_VLTextConfig,
        Qwen2_5_VLTextModel,
        SiglipImageProcessor,
        SiglipVisionConfig,
        SiglipVisionModel,
        T5Config,
        T5EncoderModel,
    )

    torch.manual_seed(0)
    transformer = d.HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=1, num_refiner_layers=1,
        mlp_ratio=2.0, patch_size=1, patch_size_t=1, text_embed_dim=16, text_embed_2_dim=32, image_embed_dim=16,
        rope_axes_dim=(2, 2, 4), target_size=64, task_type="i2v",
    )  # fmt: skip
    vae = d.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(16, 16, 16, 16, 16), layers_per_block=1, spatial_compression_ratio=16,
        temporal_compression_ratio=4, downsample_match_channel=False, upsample_match_channel=False,
    )  # fmt: skip
    words = Qwen2_5_VLTextModel(
        Qwen2_5_VLTextConfig(
            vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
            num_key_value_heads=2,
            rope_parameters={"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6},
        )
    )  # fmt: skip
    letters = T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4)
    seeing = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=378, patch_size=14
    )
    chat = tokenizer(1000)
    chat.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    return d.HunyuanVideo15ImageToVideoPipeline(
        text_encoder=words.eval(), tokenizer=chat, transformer=transformer, vae=vae,
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=7.0), text_encoder_2=T5EncoderModel(letters).eval(),
        tokenizer_2=ByT5Tokenizer(), guider=ClassifierFreeGuidance(guidance_scale=1.0),
        image_encoder=SiglipVisionModel(seeing).eval(),
        feature_extractor=SiglipImageProcessor(size={"height": 378, "width": 378}),
    )  # fmt: skip
